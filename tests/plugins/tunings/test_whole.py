from __future__ import annotations

from prefixcap_tunings.whole import Frozen, Full
from torch import nn

from prefixcap.interfaces.mapper import MapperShape


def test_frozen_trains_no_parameter_and_full_trains_all() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    shape = MapperShape(feature_width=2, feature_tokens=None, prefix_length=1, embedding_width=2)
    Frozen().build().apply(module, shape)
    assert not any(p.requires_grad for p in module.parameters())
    Full().build().apply(module, shape)
    assert all(p.requires_grad for p in module.parameters())
    assert (Frozen.trains_lm, Full.trains_lm) == (False, True)
