"""A CLIP of one layer with random weights."""

from __future__ import annotations

from typing import Any


def small_clip() -> Any:
    """Return the model, for images of 32 x 32 pixels, with features of width 32."""
    import torch
    from clip.model import CLIP

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CLIP(
            embed_dim=32,
            image_resolution=32,
            vision_layers=1,
            vision_width=64,
            vision_patch_size=16,
            context_length=77,
            vocab_size=49408,
            transformer_width=64,
            transformer_heads=1,
            transformer_layers=1,
        ).eval()
