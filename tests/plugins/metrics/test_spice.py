from __future__ import annotations

import prefixcap_metrics.configs as metrics
import pytest
from prefixcap_metrics.java import jars
from prefixcap_metrics.spice import MODELS

from prefixcap.errors import PrefixcapError


def test_missing_models_are_an_error_and_not_downloaded() -> None:
    folder = jars() / "spice" / "lib"
    if all((folder / name).is_file() for name in MODELS):
        pytest.skip("SPICE's models are installed here")
    before = sorted(folder.iterdir())
    with pytest.raises(PrefixcapError, match=r"spice needs .*models\.jar.*385 MB"):
        metrics.Spice().build()
    assert sorted(folder.iterdir()) == before
