"""Training and decoding must agree on a model, or it is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from core.engine.models import VOCABULARY, WIDTH, made, prefixes

import prefixcap
from prefixcap import NonFiniteError, PrefixcapError
from prefixcap.engine import causal_lm
from prefixcap.engine.trials import require_agreement

torch.set_num_threads(1)


def drawn(model: Any) -> Any:
    """Draw all weights, so that a small model depends on everything that it reads."""
    stream = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            weight.data = torch.randn(weight.shape, generator=stream) * 0.3
        if "correct_output_scale" in name:
            weight.data.fill_(1.0)
    return model.eval()


def gemma3n() -> Any:
    config = transformers.Gemma3nTextConfig(
        vocab_size=VOCABULARY, vocab_size_per_layer_input=VOCABULARY, hidden_size=WIDTH,
        intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, hidden_size_per_layer_input=8, num_kv_shared_layers=0, laurel_rank=4,
        altup_num_inputs=2, activation_sparsity_pattern=[0.0] * 2,
        layer_types=["full_attention"] * 2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return drawn(transformers.Gemma3nForCausalLM(config))


def gemma4() -> Any:
    config = transformers.Gemma4TextConfig(
        vocab_size=VOCABULARY, vocab_size_per_layer_input=VOCABULARY, hidden_size=WIDTH,
        intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, hidden_size_per_layer_input=8, num_kv_shared_layers=0,
        layer_types=["full_attention"] * 2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return drawn(transformers.Gemma4ForCausalLM(config))


def prophetnet() -> Any:
    config = transformers.ProphetNetConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_decoder_layers=2, decoder_ffn_dim=48,
        num_decoder_attention_heads=4, is_decoder=True, add_cross_attention=False,
    )  # fmt: skip
    return drawn(transformers.ProphetNetForCausalLM(config))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (gemma3n, "Gemma3nForCausalLM gives other logits for the embeddings of tokens, on which"),
        (gemma4, r"Gemma4ForCausalLM cannot continue a prefix of embeddings \(.*GPT-2 or Llama"),
        (prophetnet, "ProphetNetForCausalLM gives other logits for the embeddings of tokens"),
    ],
)
def test_a_model_that_reads_more_than_embeddings_is_refused(make: Any, sentence: str) -> None:
    if not hasattr(transformers, "Gemma4ForCausalLM") and make is gemma4:
        pytest.skip("this version of transformers has no Gemma 4")
    lm = prefixcap.from_transformers(make())
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.decode(lm, prefixes(2), "greedy", max_new_tokens=3)
    ids = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(PrefixcapError, match=sentence):
        lm.teacher_forced(prefixes(2).requires_grad_(), ids, ids.bool())


def test_a_model_that_ignores_which_logits_are_wanted() -> None:
    config = transformers.TrOCRConfig(
        vocab_size=VOCABULARY, d_model=WIDTH, decoder_layers=2, decoder_attention_heads=4,
        decoder_ffn_dim=48, is_decoder=True,
    )  # fmt: skip
    lm = prefixcap.from_transformers(drawn(transformers.TrOCRForCausalLM(config)))
    prefix = prefixes(2)
    captions = prefixcap.decode(lm, prefix, "greedy", max_new_tokens=5, stop_ids=())
    ids = torch.tensor([hypotheses[0].ids for hypotheses in captions])
    with torch.inference_mode():
        logits = lm.teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool))
    assert torch.equal(logits.argmax(-1), ids)
    chosen = logits.log_softmax(-1).gather(2, ids[:, :, None]).sum((1, 2)).tolist()
    assert [h[0].logprob for h in captions] == pytest.approx(chosen, abs=1e-4)


def test_a_model_is_tried_once_and_again_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def counted(*parts: Any) -> None:
        tried.append(1)
        require_agreement(*parts)

    monkeypatch.setattr(causal_lm, "require_agreement", counted)
    model = made("gpt2")
    lm = prefixcap.from_transformers(model, prepend=[3])
    for _ in range(2):
        prefixcap.decode(lm, prefixes(1), "greedy", max_new_tokens=2)
        model.lm_head.weight.data.mul_(2)
    assert len(tried) == 1
    model.lm_head.register_forward_hook(lambda part, given, output: 2 * output)
    prefixcap.decode(lm, prefixes(1), "greedy", max_new_tokens=2)
    assert len(tried) == 2


def test_a_model_of_nan_is_not_blamed_for_what_it_reads() -> None:
    model = made("bloom")
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="for the image '0'"):
        prefixcap.decode(model, prefixes(1), "greedy", max_new_tokens=2)
