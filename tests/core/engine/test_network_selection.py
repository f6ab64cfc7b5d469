"""The choice of a network for a model, which must not change the model."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
import transformers
from core.engine.models import VOCABULARY, made, prefixes, uncached
from torch import Tensor, nn

from prefixcap import decode, from_transformers
from prefixcap.engine import transformers_network as hf
from prefixcap.engine.architectures import GPT2Network, LlamaNetwork, OPTNetwork
from prefixcap.engine.cache_session import CacheSession
from prefixcap.engine.network_selection import NetworkSelector
from prefixcap.engine.transformers_network import TransformersNetwork
from prefixcap.engine.tree_session import TreeSession
from prefixcap.engine.trials import agrees
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.session import SessionOptions

torch.set_num_threads(1)

# since transformers 5.24
MAMBA_HAS_A_CACHE = "cache" in inspect.signature(transformers.MambaForCausalLM.forward).parameters


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("gpt2", {}, GPT2Network),
        ("gpt2", {"activation_function": "silu"}, GPT2Network),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, GPT2Network),
        ("llama", {}, LlamaNetwork),
        ("llama", {"tie_word_embeddings": True, "attention_bias": True}, LlamaNetwork),
        ("llama", {"mlp_bias": True}, LlamaNetwork),
        ("qwen2", {}, LlamaNetwork),
        ("qwen3", {}, LlamaNetwork),
        ("mistral", {}, LlamaNetwork),
        ("opt", {}, OPTNetwork),
        ("opt", {"enable_bias": False}, OPTNetwork),
        ("opt", {"do_layer_norm_before": False}, TransformersNetwork),
        ("opt", {"word_embed_proj_dim": 16}, TransformersNetwork),
        ("gpt_neox", {}, TransformersNetwork),
        ("bloom", {}, type(None)),
        ("mistral", {"sliding_window": 4}, type(None)),
        ("gpt_neo", {}, type(None)),
        ("lfm2", {}, type(None)),
        ("gpt2", {"add_cross_attention": True}, type(None)),
    ],
)
def test_the_fastest_network_that_works_is_chosen(
    name: str, options: dict[str, Any], kind: type
) -> None:
    model = made(name, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases, which begin as zeros, and scales
                parameter.add_(0.2 * torch.randn_like(parameter))
    assert type(NetworkSelector(model).network()) is kind


def test_a_model_without_a_network_gets_the_cache_session() -> None:
    lm = from_transformers(made("bloom"))
    assert isinstance(lm.start(prefixes(1), SessionOptions()), CacheSession)


def test_a_model_can_be_copied_after_decoding() -> None:
    lm = from_transformers(made("gpt2"))
    result = decode(lm, prefixes(2), "greedy", max_new_tokens=4)
    other = copy.deepcopy(lm)
    assert other.model is not lm.model
    assert decode(other, prefixes(2), "greedy", max_new_tokens=4) == result
    with torch.no_grad():
        other.model.get_output_embeddings().weight.neg_()
    assert decode(other, prefixes(2), "greedy", max_new_tokens=4) != result
    assert decode(lm, prefixes(2), "greedy", max_new_tokens=4) == result


def test_a_network_is_tested_on_a_tiny_vocabulary_too() -> None:
    model = made("gpt2", vocab_size=3)
    assert type(NetworkSelector(model).network()) is GPT2Network
    (result,) = decode(from_transformers(model), prefixes(1), "greedy", max_new_tokens=3)
    assert len(result[0].ids) <= 3


def test_a_model_with_too_few_positions_to_test_gets_the_cache_session() -> None:
    lm = from_transformers(made("gpt2", n_positions=5))
    (result,) = decode(lm, prefixes(1), "greedy", max_new_tokens=2, stop_ids=())
    assert len(result[0].ids) == 2


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "gpt_neo", "lfm2"])
def test_three_rows_may_continue_the_last_one(name: str) -> None:
    model, prefix = made(name), prefixes(1)
    session = from_transformers(model).start(prefix, SessionOptions(rows_per_image=3))
    session.admit()
    session.advance(torch.tensor([1, 2, 3]), torch.tensor([0, 0, 0]))
    result = session.advance(torch.tensor([4, 5, 6]), torch.tensor([2, 2, 2]))
    wanted, _ = uncached(model, prefix, [(3, 4), (3, 5), (3, 6)], [0, 0, 0])
    torch.testing.assert_close(result, wanted, atol=1e-4, rtol=1e-4)


def test_a_model_that_masks_by_column_fails_the_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = made("gpt_neo")
    with pytest.raises(
        NotImplementedError, match="GPTNeoForCausalLM masks by the position of keys"
    ):
        TransformersNetwork(model)
    monkeypatch.setattr(hf, "is_causal_mask", lambda _: False)
    assert not agrees(TransformersNetwork(model), model)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        pytest.param(
            "mamba",
            "MambaForCausalLM returns no cache: a session cannot move its states",
            marks=pytest.mark.skipif(MAMBA_HAS_A_CACHE, reason="its cache can be reordered"),
        ),
        (
            "recurrent_gemma",
            "RecurrentGemmaForCausalLM returns no cache: .* such as GPT-2",
        ),
        ("bert", "BertLMHeadModel returns no cache: .* is_decoder=True in its config"),
        ("minimax", "MiniMaxForCausalLM keeps states in a MiniMaxCache, which does not reorder"),
    ],
)
def test_a_model_whose_rows_cannot_be_reordered_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        decode(from_transformers(made(name)), prefixes(2), "greedy", max_new_tokens=3)


@pytest.mark.skipif(not MAMBA_HAS_A_CACHE, reason="Mamba's states are not in its cache")
def test_states_in_the_cache_of_newer_transformers_move_with_the_rows() -> None:
    model = made("mamba")
    session = from_transformers(model).start(prefixes(3), SessionOptions(rows_per_image=2))
    session.admit()
    session.advance(torch.tensor([1, 2, 3, 4]), torch.tensor([0, 0, 1, 2]))
    logits = session.advance(torch.tensor([5, 6, 7, 8]), torch.tensor([1, 0, 3, 2]))
    rows = [(2, 5), (1, 6), (4, 7), (3, 8)]
    assert torch.allclose(logits, uncached(model, prefixes(3), rows, [0, 0, 2, 1])[0], atol=1e-5)


def test_a_network_with_other_logits_fails_the_test() -> None:
    model = made("gpt2")
    network = GPT2Network(model)
    assert agrees(network, model)
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight[0, 0] += 0.5
    assert not agrees(network, model)


class Adapted(nn.Module):
    """A linear layer with an adapter, which like those of PEFT has no effect at first."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.scale = base, 1.0
        self.weight, self.bias = base.weight, base.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.base(x)


class Louder(nn.Linear):
    scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(x)


@pytest.mark.parametrize("kind", [Adapted, Louder])
def test_a_model_with_custom_modules_gets_no_native_network(kind: type[nn.Module]) -> None:
    model, prefix = made("llama"), prefixes(2)
    mlp = model.model.layers[0].mlp
    if kind is Adapted:
        mlp.down_proj = Adapted(mlp.down_proj)
    else:
        mlp.down_proj = Louder(mlp.down_proj.in_features, mlp.down_proj.out_features, bias=False)
    assert type(NetworkSelector(model).network()) is TransformersNetwork
    lm = from_transformers(model)
    before = _first_logits(lm, prefix)
    mlp.down_proj.scale = 3.0
    after = _first_logits(lm, prefix)
    assert (after - before).abs().max() > 1e-2
    wanted = model(inputs_embeds=prefix).logits[:, -1].detach()
    torch.testing.assert_close(after, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("how", ["in place", "behind the version counter", "loaded", "replaced"])
def test_changed_weights_are_used_from_the_next_session_on(how: str) -> None:
    model = made("gpt2")
    lm, prefix = from_transformers(model), prefixes(2)
    before = _first_logits(lm, prefix)
    weight = model.transformer.h[0].attn.c_attn.weight
    with torch.no_grad():
        if how == "in place":
            weight.mul_(1.5)
        elif how == "behind the version counter":
            weight.data.mul_(1.5)
        elif how == "loaded":
            state = {key: value * 1.5 for key, value in model.state_dict().items()}
            model.load_state_dict(state)
        else:
            model.transformer.h[0].attn.c_attn.weight = nn.Parameter(weight * 1.5)
    after = _first_logits(lm, prefix)
    wanted = model(inputs_embeds=prefix).logits[:, -1]
    assert (after - before).abs().max() > 1e-2
    torch.testing.assert_close(after, wanted.detach(), atol=1e-4, rtol=1e-4)


def _first_logits(lm: Any, prefix: Tensor) -> Tensor:
    session = lm.start(prefix, SessionOptions())
    assert isinstance(session, TreeSession)
    session.admit()
    return session.logits.clone()


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "bloom"])
def test_decoding_does_not_change_the_model(name: str) -> None:
    model = made(name)
    lm = from_transformers(model)
    model.train()
    model.get_output_embeddings().eval()
    modes = [module.training for module in model.modules()]
    config, state = model.config.to_dict(), {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.random.get_rng_state()
    session = lm.start(prefixes(2), SessionOptions())
    session.admit()
    session.advance(torch.tensor([1, 2]), torch.tensor([1, 0]))
    with pytest.raises(IndexError):
        session.advance(torch.tensor([1]), torch.tensor([9]))
    with pytest.raises(IndexError):
        lm.start(prefixes(1), SessionOptions()).advance(
            torch.tensor([VOCABULARY]), torch.tensor([0])
        )
    assert [module.training for module in model.modules()] == modes
    assert model.config.to_dict() == config
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gpt2", {"resid_pdrop": 0.5, "add_cross_attention": True}),
        ("opt", {"dropout": 0.5, "do_layer_norm_before": False}),
        ("bloom", {"hidden_dropout": 0.5}),
        ("llama", {"attention_dropout": 0.5}),
    ],
)
def test_a_model_in_training_decodes_without_dropout(name: str, options: dict[str, Any]) -> None:
    model, prefix = made(name, **options), prefixes(2)
    lm = from_transformers(model)
    ids, mask = torch.tensor([[1, 2], [3, 4]]), torch.ones(2, 2, dtype=torch.bool)
    options = {"max_new_tokens": 6, "n": 2, "stop_ids": (0,)}
    with torch.no_grad():
        logits, result = lm.teacher_forced(prefix, ids, mask), decode(lm, prefix, "beam", **options)
        model.train()
        random = torch.random.get_rng_state()
        assert decode(lm, prefix, "beam", **options) == result
        assert torch.equal(lm.teacher_forced(prefix, ids, mask), logits)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert not torch.equal(lm.teacher_forced(prefix, ids, mask), logits)


def test_a_hook_is_called_from_the_next_session_on() -> None:
    model = made("gpt2")
    lm, prefix = from_transformers(model), prefixes(2)
    before = _first_logits(lm, prefix)
    seen: list[Any] = []
    handle = model.transformer.h[0].mlp.register_forward_hook(lambda *call: seen.append(call))
    session = lm.start(prefix, SessionOptions())
    seen.clear()
    session.admit()
    assert seen
    torch.testing.assert_close(session.logits, before)
    handle.remove()
    handle = model.transformer.h[1].mlp.register_forward_hook(lambda part, given, output: -output)
    after = _first_logits(lm, prefix)
    assert (after - before).abs().max() > 1e-2
    wanted = model(inputs_embeds=prefix).logits[:, -1].detach()
    torch.testing.assert_close(after, wanted, atol=1e-4, rtol=1e-4)
    handle.remove()
    torch.testing.assert_close(_first_logits(lm, prefix), before)


def test_hooks_of_transformers_are_ignored() -> None:
    model = made("llama")
    model(inputs_embeds=prefixes(1), output_hidden_states=True)
    assert any(module._forward_hooks for module in model.modules())
    assert type(NetworkSelector(model).network()) is LlamaNetwork
