"""The cost of an activation after a product: fused into it by oneDNN, or in a separate pass.

    python benchmarks/activations.py
    python benchmarks/activations.py --dtype bfloat16 --rows 5 64 320 --threads 1

For the layer of GPT-2 small with an activation, (R,768) to (R,3072). Each line gives the best of
five times of the product alone, with oneDNN's fused activation, and with `PackedLinear`, the ratio
of the two best times, and the largest error of ours against float64. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prefixcap.engine.linear import PackedLinear

KINDS = {"gelu_new": ("gelu", "tanh"), "gelu": ("gelu", "none"), "relu": ("relu", "")}
EXACT: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
}


def best(call: Callable[[], object], seconds: float = 0.5, repeats: int = 5) -> float:
    """Return the shortest mean time of a call, in milliseconds."""
    start = time.perf_counter()
    call()
    count = max(1, int(seconds / repeats / (time.perf_counter() - start)))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(count):
            call()
        times.append((time.perf_counter() - start) / count)
    return 1000 * min(times)


@torch.inference_mode()
def measure(rows: int, dtype: torch.dtype, name: str) -> str:
    """Measure an activation after a product of `rows` rows; return a line of the table."""
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 768, generator=stream).to(dtype)
    weight = (torch.randn(3072, 768, generator=stream) * 0.05).to(dtype)
    bias = torch.randn(3072, generator=stream).to(dtype)
    ops: Any = torch.ops.mkldnn
    packed = ops._reorder_linear_weight(weight, rows)
    kind, how = KINDS[name]
    alone = best(lambda: ops._linear_pointwise(x, packed, bias, "none", [], ""))
    fused = best(lambda: ops._linear_pointwise(x, packed, bias, kind, [], how))
    layer = PackedLinear(weight, bias, activation=name)
    ours = best(lambda: layer(x))
    wanted = EXACT[name](F.linear(x.double(), weight.double(), bias.double()))
    error = float((layer(x).double() - wanted).abs().max())
    return (
        f"{rows:5} {name:9} {alone:9.3f} {fused:9.3f} {ours:9.3f} {fused / ours:9.2f} {error:9.1e}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[5, 64, 320])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.dtype}, {options.threads} threads; milliseconds")
    print(" rows activation   product     fused      ours     ratio     error")
    for rows in options.rows:
        for name in KINDS:
            print(measure(rows, getattr(torch, options.dtype), name), flush=True)
