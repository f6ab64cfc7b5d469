"""The matrix products of a step of GPT-2 small, by each library and layout that torch offers.

    python benchmarks/products.py
    python benchmarks/products.py --dtype bfloat16 --rows 5 320 --threads 1

Each line gives GFLOP/s for products of R rows of K with the weights of twelve layers in turn, so
that these come from memory as they do in a step: oneDNN's with packed weights; torch's `linear`
with weights stored as (N,K), as Llama's are, and as (K,N), as GPT-2's are; weights (N,K) multiplied
with R columns; and what `prefixcap.engine.linear.Linear` does, by rows and laid out as it likes,
with rows added where `spare` says so. The best of three rounds that alternate. Run it on an idle
machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measuring import rate
from torch import Tensor
from torch.nn import functional as F

from prefixcap.engine.linear import Linear, spare

LAYERS = 12
SHAPES = ((768, 2304), (768, 768), (768, 3072), (3072, 768))


@torch.inference_mode()
def measure(rows: int, inner: int, outer: int, dtype: torch.dtype, seconds: float) -> str:
    """Times one shape of product; returns a line to print."""
    ops: Any = torch.ops.mkldnn
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inner, generator=stream).to(dtype)
    bias = torch.randn(outer, generator=stream).to(dtype)
    padded = F.pad(x, (0, 0, 0, spare(x)))
    columns = [torch.randn(inner, outer, generator=stream).to(dtype) for _ in range(LAYERS)]
    lines = [weight.t().contiguous() for weight in columns]
    packed = [ops._reorder_linear_weight(weight, rows) for weight in lines]
    layers = [Linear(weight, bias, transposed=True) for weight in columns]
    fused = ops._linear_pointwise
    sides: list[list[Callable[[], Tensor]]] = [
        [partial(fused, x, weight, bias, "none", [], "") for weight in packed],
        [partial(F.linear, x, weight, bias) for weight in lines],
        [partial(F.linear, x, weight.t(), bias) for weight in columns],
        [partial(torch.addmm, bias[:, None], weight, x.t()) for weight in lines],
        [partial(layer, x) for layer in layers],
        [partial(layer.either, padded) for layer in layers],
    ]
    rounds = [[rate(side, seconds) for side in sides] for _ in range(3)]
    gflop = 2e-9 * rows * inner * outer
    best = [gflop * max(found) for found in zip(*rounds, strict=True)]
    return f"{rows:5} {inner:5} {outer:5}" + "".join(f"{found:9.0f}" for found in best)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[5, 80, 160, 315, 320, 640])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.3, help="for each figure of a round")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.dtype}, {options.threads} threads; GFLOP/s")
    print(" rows     K     N   packed    (N,K)    (K,N)  columns     ours   either")
    for rows in options.rows:
        for inner, outer in SHAPES:
            dtype = getattr(torch, options.dtype)
            print(measure(rows, inner, outer, dtype, options.seconds), flush=True)
