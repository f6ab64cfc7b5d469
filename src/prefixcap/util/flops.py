"""Floating-point operations, counted while something runs: products of matrices, two a term."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

import attrs
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.define
class Flops:
    """How many operations were counted."""

    count: int = 0


@contextmanager
def counting() -> Iterator[Flops]:
    """Counts the operations of matrix products, convolutions and attention, forward and backward.

    It is torch's own counter (`torch.utils.flop_counter`), which sees what is run, with the packed
    products of the engine added. Sums, activations and normalisations do not count, as usual.
    """
    from torch.utils.flop_counter import FlopCounterMode

    found = Flops()
    counter: Any = FlopCounterMode(display=False, custom_mapping=_missing())
    with counter:
        yield found
    found.count = int(counter.get_total_flops())


def _missing() -> dict[Any, Any]:
    """Returns the formulas of what torch's counter does not know: packed products, attention."""
    from torch.utils import flop_counter

    known: Any = flop_counter
    aten: Any = torch.ops.aten
    mkldnn: Any = torch.ops.mkldnn

    def attention(*shapes: Any, **_: Any) -> int:
        return int(known.sdpa_flop_count(*shapes[:3]))

    def attention_backward(*shapes: Any, **_: Any) -> int:
        return int(known.sdpa_backward_flop_count(*shapes[:4]))

    found: dict[Any, Any] = {
        aten._scaled_dot_product_flash_attention_for_cpu: attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
    }
    if hasattr(mkldnn, "_linear_pointwise"):
        found[mkldnn._linear_pointwise] = _linear
    return found


def _linear(x: Sequence[int], *_: Any, out_shape: Any = None, **__: Any) -> int:
    shape = out_shape[0] if isinstance(out_shape[0], (tuple, list, torch.Size)) else out_shape
    return 2 * prod(x) * int(shape[-1])
