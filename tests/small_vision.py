"""Small image models with random weights, saved in the formats of their libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIDE = 32
"""Of the images that they take, in pixels."""

OPEN_CLIP = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": SIDE,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


def open_clip_folder(folder: Path, **changes: Any) -> Path:
    """Save a CLIP as open_clip's repositories on the hub hold it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    settings = {**OPEN_CLIP, **changes}
    size = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    content = {"model_cfg": settings, "preprocess_cfg": size}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def timm_file(path: Path, model: str = "test_vit", **settings: Any) -> Path:
    """Save the state dict of one of timm's small models."""
    import timm
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = timm.create_model(model, **settings)
        for buffer in module.buffers():  # as after training
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    torch.save(module.state_dict(), path)
    return path


def hf_folder(folder: Path, kind: str = "clip") -> Path:
    """Save a model of transformers with its image processor, and its tokenizer if it has one."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _HF[kind](folder)
    return folder


def _tower(**more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return {**sizes, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 16, **more}


def _text() -> dict[str, Any]:
    return {
        "vocab_size": 260,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 20,
        "bos_token_id": 257,
        "eos_token_id": 258,
        "pad_token_id": 259,
    }


def _save_tokenizer(folder: Path) -> None:
    """Save a tokenizer of bytes that puts an end token behind each text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<bos>", "<eos>", "<pad>"]
    vocabulary = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *special]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing("$A <eos>", None, [("<eos>", 258)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(folder)


def _clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    settings = CLIPConfig(text_config=_text(), vision_config=_tower(), projection_dim=24)
    CLIPModel(settings).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)
    _save_tokenizer(folder)


def _clip_vision(folder: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    settings = CLIPVisionConfig(**_tower(projection_dim=24))
    CLIPVisionModelWithProjection(settings).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)


def _siglip(folder: Path) -> None:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    settings = SiglipConfig(text_config=_text(), vision_config=_tower())
    SiglipModel(settings).save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    _save_tokenizer(folder)


def _dinov2(folder: Path) -> None:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    Dinov2Model(Dinov2Config(**_tower(mlp_ratio=2))).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 40}, crop_size=SIDE).save_pretrained(folder)


def _vit(folder: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    ViTForImageClassification(ViTConfig(**_tower())).save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def _resnet(folder: Path) -> None:
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetModel

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    ResNetModel(ResNetConfig(layer_type="basic", **sizes)).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": SIDE}).save_pretrained(folder)


_HF = {
    "clip": _clip,
    "clip-vision": _clip_vision,
    "siglip": _siglip,
    "dinov2": _dinov2,
    "vit": _vit,
    "resnet": _resnet,
}
