"""Counting of floating-point operations: two per multiply-add of a matrix product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import attrs
import torch


@attrs.define
class Flops:
    """The number of counted operations."""

    count: int = 0


@contextmanager
def counting() -> Iterator[Flops]:
    """Count the operations of matrix products, convolutions and attention, forward and backward.

    This is torch's own counter (`torch.utils.flop_counter`) with formulas for the engine's packed
    products. Sums, activations and normalizations are not counted, as usual.
    """
    from torch.utils.flop_counter import FlopCounterMode

    flops = Flops()
    counter: Any = FlopCounterMode(display=False, custom_mapping=_missing())
    with counter:
        yield flops
    flops.count = int(counter.get_total_flops())


def _missing() -> dict[Any, Any]:
    """Return formulas for the packed products and CPU attention that torch's counter lacks."""
    from torch.utils import flop_counter

    known: Any = flop_counter
    aten: Any = torch.ops.aten
    mkldnn: Any = torch.ops.mkldnn

    attention = aten._scaled_dot_product_flash_attention_for_cpu
    backward = aten._scaled_dot_product_flash_attention_for_cpu_backward
    formulas: dict[Any, Any] = {
        attention: lambda *shapes, **_: int(known.sdpa_flop_count(*shapes[:3])),
        backward: lambda *shapes, **_: int(known.sdpa_backward_flop_count(*shapes[:4])),
    }
    if hasattr(mkldnn, "_linear_pointwise"):
        formulas[mkldnn._linear_pointwise] = _linear
    return formulas


def _linear(x: Sequence[int], *_: Any, out_shape: Any = None, **__: Any) -> int:
    shape = out_shape[0] if isinstance(out_shape[0], (tuple, list, torch.Size)) else out_shape
    return 2 * prod(x) * int(shape[-1])
