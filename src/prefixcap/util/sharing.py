"""Copies of models that share the weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


def copy_sharing_weights(owner: T, module: nn.Module, *also: Any) -> T:
    """Copy a module, or an object that has it, with the same parameters instead of copies.

    Args:
        owner: What is copied.
        module: The module.
        also: Other objects that are not copied.
    """
    shared = [*module.parameters(), *(each for each in also if each is not None)]
    return copy.deepcopy(owner, {id(each): each for each in shared})
