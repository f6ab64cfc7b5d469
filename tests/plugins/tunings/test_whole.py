from __future__ import annotations

from prefixcap_tunings.whole import Frozen, Full
from torch import nn


def test_frozen_trains_no_parameter_and_full_trains_all() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    Frozen().build().apply(module)
    assert not any(p.requires_grad for p in module.parameters())
    Full().build().apply(module)
    assert all(p.requires_grad for p in module.parameters())
    assert (Frozen.trains_lm, Full.trains_lm) == (False, True)
