"""`caption_loss`: captions that share a prefix have the loss and gradients that they have apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from core.engine import models
from core.engine.models import PREFIX, VOCABULARY, WIDTH
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prefixcap.engine.causal_lm import CausalLM, from_transformers
from prefixcap.engine.teacher_forcing.cross_entropy import linear_cross_entropy
from prefixcap.engine.teacher_forcing.frozen_linear import FrozenLinears, frozen_linear
from prefixcap.interfaces.language_model import LanguageModel

SHARING = ("gpt2", "opt", "llama", "qwen2", "qwen3", "mistral", "gpt_neox")
APART = ("bloom", "gpt_neo", "windowed", "lfm2")


def made(name: str) -> CausalLM:
    torch.manual_seed(0)
    return from_transformers(getattr(models, name)())


def captions(lengths: list[list[int]], seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return drawn prefixes, the captions' images, ids and mask, for the lengths by image."""
    stream = torch.Generator().manual_seed(seed)
    prefix = 0.3 * torch.randn(len(lengths), PREFIX, WIDTH, generator=stream)
    images = torch.tensor([image for image, each in enumerate(lengths) for _ in each])
    flat = torch.tensor([length for each in lengths for length in each])
    ids = torch.randint(VOCABULARY, (len(flat), int(flat.max())), generator=stream)
    return prefix, images, ids, torch.arange(ids.shape[1]) < flat[:, None]


def gradients(lm: CausalLM, loss: Tensor, prefix: Tensor) -> Tensor:
    wanted = [prefix, *(p for p in lm.module.parameters() if p.requires_grad)]
    grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    return torch.cat([g.flatten() for g in grads if g is not None])


def compare(lm: CausalLM, lengths: list[list[int]]) -> None:
    prefix, images, ids, mask = captions(lengths)
    prefix.requires_grad_()
    ours = lm.caption_loss(prefix, images, ids, mask)
    apart = LanguageModel.caption_loss(lm, prefix, images, ids, mask)
    torch.testing.assert_close(ours, apart, rtol=1e-5, atol=1e-5)
    one, other = gradients(lm, ours, prefix), gradients(lm, apart, prefix)
    assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "full"])
@pytest.mark.parametrize("name", SHARING)
def test_captions_behind_one_prefix(name: str, frozen: bool, monkeypatch: Any) -> None:
    lm = made(name)
    lm.module.requires_grad_(not frozen)
    calls: list[int] = []
    body = type(lm.model.base_model).forward

    def counted(self: Any, *args: Any, **named: Any) -> Any:
        calls.append(len(named["inputs_embeds"]))
        return body(self, *args, **named)

    lengths = [[7, 1, 3], [5], [2, 6]]
    compare(lm, lengths)
    monkeypatch.setattr(type(lm.model.base_model), "forward", counted)
    lm.caption_loss(*captions(lengths))
    assert calls == [3]  # a row an image, not one a caption


@pytest.mark.parametrize("trained", ["nothing", "head", "biases"])
@pytest.mark.parametrize("name", SHARING)
def test_frozen_layers_with_their_weights_in_another_layout(
    name: str, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefixcap.engine.teacher_forcing.frozen_linear._VALUES", 0)
    lm = made(name)
    lm.module.requires_grad_(False)
    head = lm.model.get_output_embeddings()
    for part in (head.weight,) if trained == "head" else ():
        part.requires_grad_()
    for key, part in lm.module.named_parameters() if trained == "biases" else ():
        part.requires_grad_(key.endswith("bias"))
    prefix, *batch = captions([[7, 1, 3], [5], [2, 6]])
    prefix.requires_grad_()
    plain = lm.caption_loss(prefix, *batch)
    expected = gradients(lm, plain, prefix)
    with FrozenLinears(lm.module):
        loss = lm.caption_loss(prefix, *batch)
        changed = sum(frozen_linear(part) is not None for part in lm.module.modules())
        assert (frozen_linear(head) is None) == (trained == "head")
        actual = gradients(lm, loss, prefix)
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=1e-6)
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()
    # layers with a trained bias stay as they are
    assert changed or trained == "biases"
    assert not any("forward" in vars(part) for part in lm.module.modules())


def test_frozen_layers_stay_where_their_copies_would_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frozen = "prefixcap.engine.teacher_forcing.frozen_linear"
    monkeypatch.setattr(f"{frozen}._VALUES", 0)
    layer = nn.Linear(8, 4).requires_grad_(False)
    for available, fits in ((4 * 8 * 4 * 4, True), (4 * 8 * 4 * 4 - 1, False), (None, True)):
        monkeypatch.setattr(f"{frozen}.available_memory", lambda free=available: free)
        with FrozenLinears(layer):
            assert (frozen_linear(layer) is not None) == fits


@pytest.mark.parametrize("name", APART)
def test_models_that_go_by_columns_get_a_row_for_each_caption(name: str) -> None:
    compare(made(name), [[4, 2], [3]])


def test_other_heads_are_called() -> None:
    """A head that is no plain product, here scaled logits, is computed by the model itself."""
    import transformers

    torch.manual_seed(0)
    config = {k: v for k, v in models.llama().config.to_dict().items() if k != "model_type"}
    granite = transformers.GraniteConfig(**config | {"logits_scaling": 3.0, "architectures": None})
    lm = from_transformers(transformers.GraniteForCausalLM(granite))
    assert lm.caption_loss(*captions([[3, 2]])).isfinite()
    assert lm._trees[1]
    compare(lm, [[7, 1, 3], [5], [2, 6]])


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=4), min_size=1, max_size=4),
    prepend=st.lists(st.integers(0, 36), max_size=2),
)
def test_any_captions(lengths: list[list[int]], prepend: list[int]) -> None:
    compare(from_transformers(MODEL, prepend=prepend), lengths)


torch.manual_seed(0)
MODEL = models.gpt2().requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("trained", [True, False])
def test_the_projection_to_the_vocabulary(
    bias: bool, trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefixcap.engine.teacher_forcing.cross_entropy._VALUES", 3 * 50)
    torch.manual_seed(1)
    head = nn.Linear(6, 50, bias=bias).requires_grad_(trained)
    states = torch.randn(10, 6, requires_grad=True)
    rows, targets = torch.randint(10, (25,)), torch.randint(50, (25,))
    wanted = [states, *(head.parameters() if trained else ())]
    ours = linear_cross_entropy(states, head.weight, head.bias, rows, targets)
    theirs = nn.functional.cross_entropy(head(states)[rows], targets, reduction="sum")
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(
        torch.autograd.grad(ours / 7, wanted), torch.autograd.grad(theirs / 7, wanted), strict=True
    ):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        torch.testing.assert_close(
            linear_cross_entropy(states, head.weight, head.bias, rows, targets), theirs
        )
