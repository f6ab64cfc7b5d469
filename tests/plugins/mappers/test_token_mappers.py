"""The mappers of feature tokens against the models that they are taken from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from prefixcap_mappers.configs import Transformer
from prefixcap_mappers.token_configs import Llava, QFormer
from torch import Tensor, nn

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.plugin.registry import default_registry

DOCS = Path(__file__).parents[3] / "docs" / "mappers.md"


def shape(tokens: int | None, prefix: int, width: int = 8) -> MapperShape:
    return MapperShape(
        feature_width=6, feature_tokens=tokens, prefix_length=prefix, embedding_width=width
    )


def build(config: MapperConfig, of: MapperShape) -> nn.Module:
    torch.manual_seed(0)
    return config.build(of).eval()


def layer(block: nn.Module, state: Tensor, attended: Tensor | None) -> Tensor:
    """One layer of ClipCap's transformer, of width 8 with two heads, for one image."""
    normed = nn.functional.layer_norm(state, (8,), block.norm1.weight, block.norm1.bias)
    source = normed if attended is None else attended
    queries = normed @ block.queries.weight.T
    keys, values = (source @ part.T for part in block.keys_values.weight.chunk(2))
    heads = []
    for part in (slice(4), slice(4, 8)):
        weights = (queries[:, part] @ keys[:, part].T / 2.0).softmax(-1)
        heads.append(weights @ values[:, part])
    state = state + block.output(torch.cat(heads, 1))
    normed = nn.functional.layer_norm(state, (8,), block.norm2.weight, block.norm2.bias)
    result: Tensor = state + block.fc2(block.fc1(normed).relu())
    return result


@pytest.mark.parametrize("tokens", [None, 5])
def test_cross_attention_reads_the_tokens_in_every_other_layer(tokens: int | None) -> None:
    config = Transformer(clip_length=4, num_layers=3, heads=2, attention="cross")
    module = build(config, shape(tokens, 3))
    x = torch.randn(2, 6) if tokens is None else torch.randn(2, tokens, 6)
    for image, result in zip(x, module(x), strict=True):
        projected = module.project(image).reshape(-1, 8)
        assert len(projected) == (tokens or 4)
        state = layer(module.blocks[0], module.constant, projected)
        state = layer(module.blocks[1], state, None)
        state = layer(module.blocks[2], state, projected)
        torch.testing.assert_close(result, state, atol=1e-5, rtol=1e-5)


def test_the_q_former_is_that_of_blip_2() -> None:
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    vision = {"hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 8}
    vision |= {"num_hidden_layers": 1, "image_size": 4, "patch_size": 2}
    queries = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 64}
    queries |= {"num_hidden_layers": 3, "encoder_hidden_size": 6}
    text = {"model_type": "opt", "hidden_size": 8, "ffn_dim": 8, "word_embed_proj_dim": 8}
    text |= {"vocab_size": 9, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config=vision, qformer_config=queries, text_config=text, num_query_tokens=5
    )
    torch.manual_seed(1)
    blip = Blip2ForConditionalGeneration(config).eval()
    nn.init.normal_(blip.query_tokens)
    parts = (blip.qformer, blip.vision_model, blip.language_projection)
    for parameter in (parameter for part in parts for parameter in part.parameters()):
        nn.init.normal_(parameter, std=0.3)
    ours = build(QFormer(width=16, num_layers=3, heads=4), shape(5, 5))
    assert ours.queries.std().item() == pytest.approx(0.02, rel=0.2)
    with torch.no_grad():
        ours.queries.copy_(blip.query_tokens[0])
    ours.qformer.load_state_dict(blip.qformer.state_dict())
    ours.project.load_state_dict(blip.language_projection.state_dict())

    known = blip.get_image_features(torch.randn(3, 3, 4, 4))
    result = ours(known.last_hidden_state)  # four patches and the class token
    assert result.shape == (3, 5, 8)
    torch.testing.assert_close(result, known.pooler_output, atol=1e-5, rtol=1e-5)
    assert (result[0] - result[1]).abs().max() > 0.01


def test_the_projector_is_that_of_llava() -> None:
    from transformers import LlavaConfig
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 6,
            "num_attention_heads": 2,
        },
        text_config={"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2},
    )
    llava = LlavaMultiModalProjector(config)
    ours = build(Llava(), shape(4, 4))
    ours.layers[0].load_state_dict(llava.linear_1.state_dict())
    ours.layers[2].load_state_dict(llava.linear_2.state_dict())
    x = torch.randn(3, 4, 6)
    torch.testing.assert_close(ours(x), llava(x))
    pooled = build(Llava(pool=True), shape(4, 2))
    pooled.load_state_dict(ours.state_dict())
    torch.testing.assert_close(pooled(x), llava(x.reshape(3, 2, 2, 6).mean(2)))


def test_one_vector_is_one_token() -> None:
    x = torch.randn(3, 6)
    for config, length in ((Llava(), 1), (QFormer(width=8, heads=2), 4)):
        one, token = build(config, shape(None, length)), build(config, shape(1, length))
        torch.testing.assert_close(one(x), token(x[:, None]))


def test_sizes_that_do_not_fit() -> None:
    either = r"has 5, not 3: set the prefix length to 5, or average .* llava:pool=true$"
    with pytest.raises(PrefixcapError, match=either):
        Llava().build(shape(5, 3))
    for config in (Llava(), Llava(pool=True)):
        with pytest.raises(PrefixcapError, match=r"has 1, not 3: set the prefix length to 1$"):
            config.build(shape(None, 3))
    with pytest.raises(PrefixcapError, match="heads=5 does not divide width=384"):
        default_registry().parse(MapperConfig, "qformer:heads=5")


def test_the_documented_numbers_of_parameters() -> None:
    sizes = ((512, None, 1, 768), (512, None, 10, 768), (512, None, 20, 768))
    tokens = ((768, 50, 10, 768), (768, 50, 50, 768), (1024, 257, 32, 2048))
    counted = 0
    for columns, header in ((sizes, "| mapper | parameters |"), (tokens, "| mapper | N=50")):
        _, _, table = DOCS.read_text().partition(header)
        for row in table.split("\n\n")[0].splitlines()[2:]:
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            config = default_registry().parse(MapperConfig, cells[0].strip("`"))
            for cell, (width, count, length, embedding) in zip(cells[-3:], columns, strict=True):
                of = MapperShape(
                    feature_width=width,
                    feature_tokens=count,
                    prefix_length=length,
                    embedding_width=embedding,
                    state_width=2 * 12 * embedding if config.gives_states else None,
                )
                with torch.device("meta"):
                    if re.fullmatch(r"[\d,]+", cell):
                        size = sum(p.numel() for p in config.build(of).parameters())
                        assert f"{size:,}" == cell, (row, of)
                        counted += 1
                    else:
                        with pytest.raises(PrefixcapError):
                            config.build(of)
    assert counted > 30
