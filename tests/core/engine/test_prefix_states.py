"""Prefixes with keys and values per layer, trained or given by images, and trained prompts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from core.engine.models import made, prefixes
from torch import Tensor
from transformers.cache_utils import DynamicCache

from prefixcap.decoding.decode import decode
from prefixcap.engine.cache_session import CacheSession
from prefixcap.engine.causal_lm import CausalLM, from_transformers
from prefixcap.engine.prefixes.packing import pack, unpack
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.session import SessionOptions
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry

KINDS = ["deep-prefix:length=3", "prompt:length=3", "cross", "states"]
NAMES = ["gpt2", "llama", "opt", "gpt_neox"]


def shape_of(lm: CausalLM, **others: Any) -> MapperShape:
    return MapperShape(
        feature_width=5, feature_tokens=3, prefix_length=4, embedding_width=lm.width, **others
    )


def tuned(name: str, spec: str) -> CausalLM:
    lm = from_transformers(made(name))
    config = default_registry().parse(TuningConfig, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config.build().apply(lm.module, shape_of(lm))
    return lm


def continued(model: Any, keys: Tensor, values: Tensor, embeddings: Tensor) -> Tensor:
    """The logits (B,V) after embeddings (B,P,E) that follow keys and values (B,L,P',K,D)."""
    cache = DynamicCache(config=model.config)
    for layer in range(keys.shape[1]):
        cache.update(keys[:, layer].transpose(1, 2), values[:, layer].transpose(1, 2), layer)
    with torch.no_grad():
        return model(inputs_embeds=embeddings, past_key_values=cache).logits[:, -1]


def first_logits(lm: CausalLM, prefix: Tensor, *, general: bool = False) -> Tensor:
    session = lm.start(prefix, SessionOptions())
    if general:
        session = CacheSession(lm.model, lm.open_prefix(prefix), SessionOptions())
    session.admit()
    return session.logits


@pytest.mark.parametrize("name", NAMES)
def test_trained_keys_and_values_stand_before_the_prefix(name: str) -> None:
    lm, prefix = tuned(name, "deep-prefix:length=3"), prefixes(2)
    part: Any = lm.model.deep_prefix
    both = (each.detach().expand(2, *each.shape) for each in (part.keys, part.values))
    expected = continued(made(name), *both, prefix)
    for general in (False, True):
        torch.testing.assert_close(
            first_logits(lm, prefix, general=general), expected, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("name", NAMES)
def test_images_give_keys_and_values(name: str) -> None:
    plain = from_transformers(made(name))
    assert plain.state_width is not None
    shape = shape_of(plain, state_width=plain.state_width)
    lm = plain.for_prefixes(shape)
    states = torch.stack([plain.states(torch.arange(4) + 7 * image) for image in range(2)])
    packed = pack(states, torch.zeros(2, 3, 5), shape)
    found = unpack(packed, shape)
    assert found.states is not None
    assert torch.equal(found.states, states)
    inputs = lm.open_prefix(packed)
    assert inputs.keys is not None
    assert inputs.values is not None
    begin = lm.embed(torch.tensor([[lm.eos_id]] * 2))
    expected = continued(made(name), inputs.keys, inputs.values, begin)
    # the keys of these states are those of tokens 0 to 3, so the text is begun as if they were read
    text = torch.arange(4) + torch.tensor([[0], [7]])
    with torch.no_grad():
        read = made(name)(torch.cat([text, torch.tensor([[lm.eos_id]] * 2)], 1)).logits[:, -1]
    torch.testing.assert_close(expected, read, atol=1e-4, rtol=1e-4)
    for general in (False, True):
        found_logits = first_logits(lm, packed, general=general)
        torch.testing.assert_close(found_logits, read, atol=1e-4, rtol=1e-4)
    assert lm.positions(packed) == 5


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_precedes_the_prefix(name: str) -> None:
    lm, prefix = tuned(name, "prompt:length=3"), prefixes(2)
    vectors = lm.model.prefix_prompt.vectors.detach().expand(2, -1, -1)
    with torch.no_grad():
        expected = made(name)(inputs_embeds=torch.cat([vectors, prefix], 1)).logits[:, -1]
    torch.testing.assert_close(first_logits(lm, prefix), expected, atol=1e-4, rtol=1e-4)


def crossed(name: str) -> tuple[CausalLM, Tensor]:
    """A model whose layers read features, with prefixes that carry them."""
    lm = tuned(name, "cross-attention:head_width=4,heads=3")
    shape = shape_of(lm, reads_features=True)
    stream = torch.Generator().manual_seed(3)
    for parameter in lm.model.cross_attention.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=stream)
    features = torch.randn(2, 3, 5, generator=stream)
    return lm.for_prefixes(shape), pack(prefixes(2, 4), features, shape)


@pytest.mark.parametrize("name", NAMES)
def test_layers_read_features(name: str) -> None:
    lm, packed = crossed(name)
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    forced = lm.teacher_forced(packed, ids, torch.ones_like(ids, dtype=torch.bool))
    session = lm.start(packed, SessionOptions(rows_per_image=2))
    session.admit()
    torch.testing.assert_close(session.logits, forced[:, 0], atol=1e-4, rtol=1e-4)
    # the rows of an image keep its features, in whatever order they are
    session.advance(torch.tensor([4, 1, 9]), torch.tensor([1, 0, 1]))
    logits = session.advance(torch.tensor([5, 2]), torch.tensor([0, 1]))
    torch.testing.assert_close(logits, forced[:, 2].flip(0), atol=1e-4, rtol=1e-4)
    plain = lm.teacher_forced(packed[:, :4], ids, torch.ones_like(ids, dtype=torch.bool))
    assert not torch.allclose(plain, forced, atol=1e-2)
    assert torch.allclose(
        plain,
        from_transformers(made(name)).teacher_forced(
            packed[:, :4], ids, torch.ones_like(ids, dtype=torch.bool)
        ),
        atol=1e-5,
    )


def test_a_layer_reads_as_written_out() -> None:
    """SmallCap's place: after the attention's residual, before the feed-forward part."""
    lm, packed = crossed("gpt2")
    shape = shape_of(lm, reads_features=True)
    parts = unpack(packed, shape)
    model, cross = lm.model, lm.model.cross_attention
    with torch.no_grad():
        x = parts.embeddings + model.transformer.wpe(torch.arange(4))
        for block, added in zip(model.transformer.h, cross.layers, strict=True):
            x = x + block.attn(block.ln_1(x))[0]
            x = x + naive_attention(added, x, parts.features)
            x = x + block.mlp(block.ln_2(x))
        expected = model.lm_head(model.transformer.ln_f(x))[:, -1]
    torch.testing.assert_close(first_logits(lm, packed), expected, atol=1e-4, rtol=1e-4)


def naive_attention(layer: Any, states: Tensor, features: Tensor) -> Tensor:
    queries = layer.query(layer.norm(states))
    keys, values = layer.key_value(features).chunk(2, 2)
    output = torch.zeros_like(queries)
    for image in range(len(states)):
        for head in range(queries.shape[2] // 4):
            part = slice(4 * head, 4 * head + 4)
            scores = queries[image, :, part] @ keys[image, :, part].T / 2
            output[image, :, part] = scores.softmax(1) @ values[image, :, part]
    return layer.output(output)


def of_kind(name: str, kind: str) -> tuple[CausalLM, Tensor]:
    """A model that takes more than embeddings from prefixes, and two of them."""
    if kind == "cross":
        return crossed(name)
    if kind != "states":
        return tuned(name, kind), prefixes(2)
    plain = from_transformers(made(name))
    shape = shape_of(plain, state_width=plain.state_width)
    drawn = torch.randn(2, 4, plain.state_width or 0, generator=torch.Generator().manual_seed(2))
    return plain.for_prefixes(shape), pack(drawn, torch.zeros(2, 3, 5), shape)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_decoders_agree_with_transformers_generate(name: str, beams: int, kind: str) -> None:
    lm, prefix = of_kind(name, kind)
    options = {"max_new_tokens": 7, "stop_ids": [0]}
    own = decode(lm, prefix, f"beam:num_beams={beams}" if beams > 1 else "greedy", **options)
    theirs = decode(lm, prefix, f"hf-generate:options=num_beams={beams}", **options)
    for mine, other in zip(own, theirs, strict=True):
        assert mine[0].ids == other[0].ids
        assert mine[0].logprob == pytest.approx(other[0].logprob, abs=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("kind", KINDS)
def test_captions_share_a_prefix_in_training(name: str, kind: str) -> None:
    lm, prefix = of_kind(name, kind)
    prefix = prefix.clone().requires_grad_()
    images = torch.tensor([0, 0, 1])
    ids = torch.tensor([[1, 2, 3], [4, 5, 0], [6, 7, 8]])
    mask = torch.tensor([[True] * 3, [True, True, False], [True] * 3])
    trained = [p for p in lm.module.parameters() if p.requires_grad]
    grads = []
    for loss in (lm.caption_loss(prefix, images, ids, mask), apart(lm, prefix, images, ids, mask)):
        grads.append((loss.detach(), *torch.autograd.grad(loss, [prefix, *trained])))
    for together, separate in zip(*grads, strict=True):
        torch.testing.assert_close(together, separate, atol=1e-4, rtol=1e-4)


def apart(lm: CausalLM, prefix: Tensor, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    logits = lm.teacher_forced(prefix[images], ids, mask)
    return torch.nn.functional.cross_entropy(logits[mask], ids[mask], reduction="sum")
