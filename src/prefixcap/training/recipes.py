"""Training settings that have a name, because others published results with them."""

from __future__ import annotations

from collections.abc import Mapping

from prefixcap.errors import PrefixcapError, nearest

RECIPES: Mapping[str, Mapping[str, str]] = {
    # Mokady et al. 2021, arXiv:2111.09734, and its code's train.py
    "clipcap": {
        "learning_rate": "2e-5",
        "lm_lr_scale": "1.0",
        "eps": "1e-6",
        "weight_decay": "0.0",
        "warmup_steps": "5000",
        "schedule": "linear",
        "gradient_clip": "none",
        "center": "false",
        "feature_scale": "1.0",
        "prefix_scale": "none",
        "end": ".",
        "caption_format": "plain",
        "epochs": "10",
        "batch_size": "40",
        "patience": "none",
        "keep": "last",
    },
}
"""The settings of each recipe, as texts; all others have their defaults."""


def recipe(name: str) -> Mapping[str, str]:
    """Return the settings of a recipe.

    Raises:
        PrefixcapError: If there is none of that name.
    """
    if name not in RECIPES:
        raise PrefixcapError(f"no training recipe {name!r}{nearest(name, list(RECIPES))}")
    return RECIPES[name]
