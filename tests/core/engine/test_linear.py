"""Packed linear layers equal those of torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from prefixcap.engine.linear import PackedLinear, activation_function, can_pack, gelu_

torch.set_num_threads(1)


@pytest.mark.parametrize("activation", [None, "gelu_new", "gelu", "relu", "silu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 5, 33, 131, 400])
def test_a_packed_layer_equals_the_plain_one(rows: int, bias: bool, activation: str | None) -> None:
    stream = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 24, generator=stream)
    weight = torch.randn(40, 24, generator=stream)
    offset = torch.randn(40, generator=stream) if bias else None
    wanted = F.linear(x, weight, offset)
    if activation:
        wanted = activation_function(activation)(wanted)
    result = PackedLinear(weight, offset, activation=activation)(x)
    torch.testing.assert_close(result, wanted, atol=2e-5, rtol=2e-5)
    turned = PackedLinear(weight.t().contiguous(), offset, transposed=True, activation=activation)(
        x
    )
    torch.testing.assert_close(turned, wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("rows", [7, 131])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_sum_is_fused(dtype: torch.dtype, rows: int) -> None:
    stream = torch.Generator().manual_seed(0)
    sizes = ((rows, 24), (40, 24), (rows, 40))
    x, weight, other = (torch.randn(*size, generator=stream).to(dtype) for size in sizes)
    result = PackedLinear(weight).plus(x, other)
    assert result.dtype == dtype
    allowed = 1e-1 if dtype == torch.bfloat16 else 2e-5
    torch.testing.assert_close(result, F.linear(x, weight) + other, atol=allowed, rtol=allowed)


def test_double_precision_is_not_packed() -> None:
    assert not can_pack(torch.zeros(2, 2, dtype=torch.float64))


def test_the_fast_gelu_is_the_tanh_form_to_float32_precision() -> None:
    x = torch.cat([torch.linspace(-12, 12, 4801), torch.tensor([-1e18, -100, -0.0, 100, 1e18])])
    wanted = F.gelu(x.double(), approximate="tanh")
    error = (gelu_(x.clone()).double() - wanted).abs()
    assert bool((error <= 1e-6 + 1e-6 * wanted.abs()).all())
    torchs = (activation_function("gelu_new")(x).double() - wanted).abs()
    assert float(error[:-5].max()) <= 2 * float(torchs[:-5].max())
