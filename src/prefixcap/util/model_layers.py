"""The layers of a model of transformers, found by its structure."""

from __future__ import annotations

from typing import Any

from torch import nn


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer, also one that GPT-2 calls `Conv1D`."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def model_layers(model: Any) -> tuple[str, nn.ModuleList]:
    """Return the list of a model's layers with its name; an empty one if it is not found.

    It is the first list of as many modules as the config has layers, with linear ones in them.
    """
    config = getattr(model, "config", None)
    text = getattr(config, "get_text_config", lambda: config)()
    count = getattr(text, "num_hidden_layers", None)
    for name, part in model.named_modules():
        is_list = isinstance(part, nn.ModuleList) and len(part) == count
        if is_list and any(map(is_linear, part.modules())):
            return name, part
    return "", nn.ModuleList()
