"""Tunings that train a part of a language model: what they train, compute, fold and refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import FAMILIES, family, prefixes
from prefixcap_tunings.adapter_layers import Adapted
from prefixcap_tunings.low_rank import kept_at_random, low_rank_sum
from prefixcap_tunings.places import linear_places
from torch import nn
from torch.nn import functional as F

import prefixcap
from prefixcap.engine.architectures import NativeNetwork
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.util.sharing import copy_sharing_weights

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


SHAPE = MapperShape(feature_width=2, feature_tokens=None, prefix_length=1, embedding_width=32)


def config(spec: str) -> TuningConfig:
    return default_registry().parse(TuningConfig, spec)


def tuned(name: str, spec: str, seed: int = 0) -> Any:
    """A family's model with a tuning whose parameters have been changed, in evaluation mode."""
    model, stream = family(name), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(), torch.no_grad():
        config(spec).build().apply(model, SHAPE)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn(parameter.shape, generator=stream)
    return model.eval()


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def folded(model: Any, spec: str) -> Any:
    copied = copy_sharing_weights(model, model)
    with torch.no_grad():
        config(spec).build().fold(copied)
    return copied


@pytest.mark.parametrize("name", FAMILIES)
def test_the_output_projections_of_every_family_are_found(name: str) -> None:
    model = family(name)
    layers = linear_places(model, "lora")
    ends = {part.rpartition(".")[2] for places in layers for part in places.ends}
    known = {"c_proj", "out_proj", "fc2", "dense", "dense_4h_to_h", "o_proj", "down_proj"}
    assert len(layers) == 2
    assert len(ends) in (1, 2)
    assert ends <= known
    assert all(places.query_value and places.key_value for places in layers)
    heads = ("lm_head", "embed_out")
    linear = [n for n, m in model.named_modules() if type(m).__name__ in ("Linear", "Conv1D")]
    found = [each for places in layers for each in places.all]
    assert sorted(found) == sorted(each for each in linear if each not in heads)


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        ("query-value", {"q_proj", "v_proj"}),
        ("attention", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("all", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
    ],
)
def test_lora_changes_the_chosen_layers(targets: str, names: set[str]) -> None:
    parameters = trained(tuned("llama", f"lora:r=2,targets={targets}"))
    assert {name.split(".")[4] for name in parameters} == names
    assert {min(p.shape) for p in parameters.values()} == {2}


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_lora_adds_the_product_of_its_matrices(name: str) -> None:
    """The formula of the paper, by changing the weights of the plain model."""
    model, plain = tuned(name, "lora:r=3,alpha=5"), family(name)
    changes = dict(model.named_parameters())
    with torch.no_grad():
        for key, weight in plain.named_parameters():
            part = key.rpartition(".")[0]
            if f"{part}.lora_A.default.weight" in changes and key.endswith("weight"):
                a, b = (changes[f"{part}.lora_{x}.default.weight"] for x in "AB")
                change = 5 / 3 * b @ a
                weight += change.T if name == "gpt2" else change
        assert torch.allclose(model(IDS).logits, plain(IDS).logits, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_lora_is_that_of_peft(name: str) -> None:
    from peft import LoraConfig, get_peft_model

    model = tuned(name, "lora:r=4,dropout=0,targets=query-value")
    theirs = get_peft_model(family(name), LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for key, parameter in theirs.base_model.model.named_parameters():
            parameter.copy_(dict(model.named_parameters())[key])
    for each in (model, theirs):
        torch.autograd.backward(each(input_ids=IDS).logits.logsumexp(-1).sum())
    assert torch.allclose(model(IDS).logits, theirs(input_ids=IDS).logits, atol=1e-5)
    gradients = {k: p.grad for k, p in theirs.base_model.model.named_parameters()}
    for key, parameter in trained(model).items():
        assert torch.allclose(parameter.grad, gradients[key], atol=1e-4), key  # type: ignore[arg-type]


def test_lora_beside_bfloat16_is_that_of_peft() -> None:
    from peft.tuners import lora

    model: Any = family("llama").bfloat16()
    spec = config("lora:r=4,dropout=0")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        spec.build().apply(model, SHAPE)
        for parameter in trained(model).values():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
    results = []
    for theirs in (False, True):
        for layer in (part for part in model.modules() if isinstance(part, lora.Linear)):
            layer.__class__ = lora.Linear if theirs else layer.__class__
        model.zero_grad()
        logits = model(input_ids=IDS).logits
        assert logits.dtype == torch.bfloat16
        torch.autograd.backward(logits.float().logsumexp(-1).sum())
        gradients = {key: parameter.grad for key, parameter in trained(model).items()}
        assert all(each.dtype == torch.float32 for each in gradients.values() if each is not None)
        results.append((logits, gradients))
    (ours, gradients), (peft, of_peft) = results
    assert torch.allclose(ours, peft, atol=0.05)
    for key, gradient in gradients.items():
        assert torch.allclose(gradient, of_peft[key], atol=0.05, rtol=0.05), key  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lora_runs_each_frozen_layer_once(dtype: torch.dtype) -> None:
    model: Any = tuned("llama", "lora:r=2").to(dtype)
    calls: list[Any] = []
    for name, part in model.named_modules():
        if name.endswith("base_layer"):
            part.register_forward_hook(lambda layer, *_: calls.append(layer))
    model(input_ids=IDS)
    assert len(calls) == len(set(calls)) > 0


def test_a_deep_prefix_beyond_the_positions_is_refused() -> None:
    with pytest.raises(PrefixcapError) as caught:
        tuned("gpt2", "deep-prefix:length=64")
    assert str(caught.value) == (
        "the tuning 'deep-prefix' cannot train 64 positions of a language model that has 64: "
        "lower length"
    )


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_gradients_of_a_low_rank_sum(dropout: float) -> None:
    stream = torch.Generator().manual_seed(3)
    sizes = ((2, 3, 6), (2, 3, 5), (4, 5), (6, 4))
    y, x, a, b = (torch.randn(*s, generator=stream, dtype=torch.float64) for s in sizes)

    def computed(*inputs: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(4)  # the same values are dropped each time
            return low_rank_sum(*inputs, 1.7, dropout)

    inputs = [each.requires_grad_() for each in (y, x, a, b)]
    assert torch.autograd.gradcheck(computed, inputs)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        kept, share = kept_at_random(x.flatten(0, 1), dropout)
    seen = x * kept.view(x.shape) / share
    assert torch.allclose(computed(*inputs), y + 1.7 * seen @ a.T @ b.T)


def test_dropout_keeps_the_share_that_it_says() -> None:
    x = torch.zeros(1000, 999)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for dropout in (0.05, 0.5, 0.9):
            kept, share = kept_at_random(x, dropout)
            assert share == pytest.approx(1 - dropout, abs=1e-5)
            assert set(kept.unique().tolist()) == {0.0, 1.0}
            assert kept.mean().item() == pytest.approx(share, abs=0.002)
            # neighbors, which come of the same random number, are independent
            assert (kept[:, 1:] * kept[:, :-1]).mean().item() == pytest.approx(share**2, abs=0.003)


def test_lora_in_training_drops_inputs_of_its_own_matrices_only() -> None:
    model = tuned("llama", "lora:dropout=0.4")
    with torch.random.fork_rng():
        first, second = (model.train()(IDS).logits for _ in range(2))
        assert not torch.equal(first, second)
    with torch.no_grad():
        for name, parameter in trained(model).items():
            parameter.mul_("lora_A" in name)  # no change is left
    assert torch.allclose(model(IDS).logits, family("llama")(IDS).logits, atol=1e-5)


def test_ia3_multiplies_keys_values_and_feed_forward_states() -> None:
    model, plain = tuned("llama", "ia3"), family("llama")
    factors = {key.removesuffix(".ia3_l.default"): p for key, p in trained(model).items()}
    assert {key.rpartition(".")[2] for key in factors} == {"k_proj", "v_proj", "down_proj"}
    with torch.no_grad():
        for key, factor in factors.items():
            weight = plain.get_submodule(key).weight  # outputs of k and v, inputs of down
            weight *= factor.view(1, -1) if "down" in key else factor.view(-1, 1)
        assert torch.allclose(model(IDS).logits, plain(IDS).logits, atol=1e-5)


def test_an_adapter_adds_a_bottleneck_to_an_output() -> None:
    stream = torch.Generator().manual_seed(1)
    base = nn.Linear(5, 4)
    adapted = Adapted(base, 3)
    x = torch.randn(2, 5, generator=stream)
    assert torch.equal(adapted(x), base(x))
    with torch.no_grad():
        adapted.up.weight.copy_(torch.randn(4, 3, generator=stream))
        y = base(x)
        hidden = F.gelu(y @ adapted.down.weight.T + adapted.down.bias)
        assert torch.allclose(adapted(x), y + hidden @ adapted.up.weight.T)


@pytest.mark.parametrize(("places", "count"), [("both", 4), ("feed-forward", 2)])
def test_adapters_stand_where_they_are_asked_for(places: str, count: int) -> None:
    model = tuned("phi3", f"adapter:width=3,places={places}")
    adapters = [part for part in model.modules() if isinstance(part, Adapted)]
    assert len(adapters) == count
    assert len(trained(model)) == 4 * count


def test_bitfit_and_layernorm_train_what_their_names_say() -> None:
    biases = set(trained(tuned("opt", "bitfit")))
    norms = set(trained(tuned("opt", "layernorm")))
    assert biases == {n for n, _ in family("opt").named_parameters() if n.endswith("bias")}
    assert norms == {n for n, _ in family("opt").named_parameters() if "norm" in n}
    assert len(trained(tuned("qwen3", "layernorm"))) == 2 * 4 + 1  # with those of queries and keys


@pytest.mark.parametrize("spec", ["lora", "lora:targets=query-value", "ia3"])
@pytest.mark.parametrize("name", ["gpt2", "gpt2-untied", "llama", "opt", "qwen3"])
def test_folded_models_write_the_same_captions_on_the_fast_networks(name: str, spec: str) -> None:
    model = tuned(name, spec)
    apart, together = CausalLM(model), CausalLM(folded(model, spec))
    for decoder in ("greedy", "beam:num_beams=3", "sample:n=2"):
        options: dict[str, Any] = {"decoder": decoder, "max_new_tokens": 8, "seed": 5}
        ours, theirs = (prefixcap.decode(lm, prefixes(2), **options) for lm in (together, apart))
        for one, two in zip(ours, theirs, strict=True):
            assert [each.ids for each in one] == [each.ids for each in two]
    assert isinstance(together._selector.network(), NativeNetwork)
    assert not isinstance(apart._selector.network(), NativeNetwork)


def test_folding_shares_the_weights_that_did_not_change() -> None:
    model = tuned("llama", "lora:targets=query-value")
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    copied = folded(model, "lora:targets=query-value")
    own = {p.data_ptr() for p in model.parameters()}
    new = [name for name, p in copied.named_parameters() if p.data_ptr() not in own]
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in new} == {"q_proj", "v_proj"}
    assert all(torch.equal(parameter, before[n]) for n, parameter in model.named_parameters())


@pytest.mark.parametrize("spec", ["lora", "ia3", "adapter"])
def test_a_model_without_known_layers_is_refused(spec: str) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with pytest.raises(PrefixcapError) as caught:
        config(spec).build().apply(module, SHAPE)
    assert str(caught.value) == (
        f"the tuning {spec!r} needs attention and feed-forward parts with linear layers, and "
        "Sequential has none that are known (its linear layers are called 0): use another language "
        "model, or the tuning 'full' or 'frozen'"
    )
    with pytest.raises(PrefixcapError, match=r"\(it has no linear layers\)"):
        config(spec).build().apply(nn.Sequential(), SHAPE)


def test_biases_and_norms_that_do_not_exist_are_refused() -> None:
    with pytest.raises(PrefixcapError) as caught:
        config("bitfit").build().apply(family("llama"), SHAPE)
    assert str(caught.value) == (
        "the tuning 'bitfit' trains biases, and LlamaForCausalLM has none: its parameters are "
        "Embedding.weight, Linear.weight, LlamaRMSNorm.weight; use 'layernorm' or 'lora'"
    )
    plain = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3, elementwise_affine=False))
    with pytest.raises(PrefixcapError) as caught:
        config("layernorm").build().apply(plain, SHAPE)
    assert str(caught.value) == (
        "the tuning 'layernorm' trains gains and biases of norms, and Sequential has none: its "
        "parameters are Linear.weight, Linear.bias; use 'lora' or 'ia3'"
    )


@pytest.mark.parametrize("spec", ["lora", "ia3"])
def test_without_peft_the_extra_is_named(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefixcap_tunings.injected.find_spec", lambda _: None)
    with pytest.raises(PrefixcapError) as caught:
        config(spec).build()
    assert str(caught.value) == f"the tuning '{spec}' needs peft: pip install 'prefixcap[peft]'"
