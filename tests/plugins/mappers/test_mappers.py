"""The mappers against ClipCap's formulas, written out."""

from __future__ import annotations

import pytest
import torch
from prefixcap_mappers.configs import MLP, Linear, Transformer
from torch import Tensor, nn

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.plugin.registry import default_registry


def shape(tokens: int | None = None, prefix: int = 3, width: int = 8) -> MapperShape:
    return MapperShape(
        feature_width=6, feature_tokens=tokens, prefix_length=prefix, embedding_width=width
    )


def build(config: MapperConfig, of: MapperShape) -> nn.Module:
    torch.manual_seed(0)
    return config.build(of).eval()


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("length", "millions"), [(1, 0.49), (10, 31.5), (20, 121.9)])
def test_the_mlp_has_the_published_size(length: int, millions: float) -> None:
    real = MapperShape(
        feature_width=512, feature_tokens=None, prefix_length=length, embedding_width=768
    )
    with torch.device("meta"):
        assert size(MLP().build(real)) / 1e6 == pytest.approx(millions, abs=0.06)


def test_the_mlp_is_two_layers_and_a_tanh() -> None:
    module = build(MLP(), shape())
    first, _, second = module.layers
    assert first.weight.shape == (12, 6)
    x = torch.randn(5, 6)
    hidden = torch.tanh(x @ first.weight.T + first.bias)
    expected = (hidden @ second.weight.T + second.bias).view(5, 3, 8)
    torch.testing.assert_close(module(x), expected)
    assert build(MLP(hidden=7), shape()).layers[0].weight.shape == (7, 6)


def test_linear_is_one_layer() -> None:
    module = build(Linear(), shape())
    x = torch.randn(5, 6)
    expected = (x @ module.layer.weight.T + module.layer.bias).view(5, 3, 8)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("length", [1, 2, 5, 10, 20, 40])
def test_an_mlp_keeps_a_fixed_size_at_every_prefix_length(length: int) -> None:
    of = MapperShape(
        feature_width=256, feature_tokens=None, prefix_length=length, embedding_width=128
    )
    module = build(MLP(parameters=1_000_000), of)
    assert size(module) == pytest.approx(1_000_000, rel=0.005)
    assert module(torch.randn(2, 256)).shape == (2, length, 128)


def test_an_mlp_cannot_be_smaller_than_its_outputs() -> None:
    with pytest.raises(PrefixcapError, match=r"parameters=20 cannot be met .* sizes are 55, 86"):
        MLP(parameters=20).build(shape())
    with pytest.raises(PrefixcapError, match="both set the hidden width"):
        default_registry().parse(MapperConfig, "mlp:hidden=3,parameters=100")


def test_a_linear_mapper_of_low_rank() -> None:
    module = build(Linear(rank=2), shape())
    x = torch.randn(9, 6)
    out = module(x).flatten(1)
    assert torch.linalg.matrix_rank(out - module(torch.zeros(1, 6)).flatten(1)) == 2
    assert size(module) == 6 * 2 + 2 * 24 + 24


def loops(module: nn.Module, tokens: Tensor) -> Tensor:
    """The transformer of one image, tokens (N,E) to the prefix (P,E), in plain loops."""
    state = torch.cat([tokens, module.constant])
    for block in module.blocks:
        normed = nn.functional.layer_norm(state, (8,), block.norm1.weight, block.norm1.bias)
        queries = normed @ block.queries.weight.T
        keys = normed @ block.keys_values.weight[:8].T
        values = normed @ block.keys_values.weight[8:].T
        heads = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            weights = (queries[:, part] @ keys[:, part].T / 2.0).softmax(-1)
            heads.append(weights @ values[:, part])
        state = state + torch.cat(heads, 1) @ block.output.weight.T + block.output.bias
        normed = nn.functional.layer_norm(state, (8,), block.norm2.weight, block.norm2.bias)
        hidden = (normed @ block.fc1.weight.T + block.fc1.bias).clamp(min=0)
        state = state + hidden @ block.fc2.weight.T + block.fc2.bias
    return state[len(tokens) :]


@pytest.mark.parametrize("tokens", [None, 5])
def test_the_transformer_equals_a_plain_implementation(tokens: int | None) -> None:
    module = build(Transformer(clip_length=4, num_layers=2, heads=2), shape(tokens))
    x = torch.randn(3, 6) if tokens is None else torch.randn(3, tokens, 6)
    projected = (x @ module.project.weight.T + module.project.bias).view(3, -1, 8)
    assert projected.shape[1] == (tokens or 4)
    expected = torch.stack([loops(module, each) for each in projected])
    torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [MLP(), Linear()])
def test_feature_tokens_are_averaged(config: MapperConfig) -> None:
    module = build(config, shape(tokens=4))
    x = torch.randn(2, 4, 6)
    torch.testing.assert_close(module(x), module(x.mean(1)))


def test_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(PrefixcapError, match=r"heads=3 does not .* width 8; .*: 1, 2, 4, 8$"):
        Transformer(heads=3).build(shape())


@pytest.mark.parametrize("spec", ["transformer:heads=0", "mlp:hidden=0", "mlp:hiden=4"])
def test_settings_out_of_range(spec: str) -> None:
    with pytest.raises(PrefixcapError, match=r"must be at least 1|did you mean 'hidden'"):
        default_registry().parse(MapperConfig, spec)
