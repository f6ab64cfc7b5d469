"""Every decoder's settings: valid values, and errors for invalid ones."""

from __future__ import annotations

from typing import Any

import attrs
import prefixcap_clipcap
import prefixcap_decoders
import pytest
from decoder_models import prefixes
from prefixcap_decoders.greedy.config import Greedy
from prefixcap_decoders.sampling.config import Sample

import prefixcap
from prefixcap import PrefixcapError
from prefixcap.testing.table_lm import TableLM

FLOATS = [
    (config, field.name)
    for plugin in (prefixcap_decoders, prefixcap_clipcap)
    for config in plugin.prefixcap_components()
    for field in attrs.fields(config)
    if field.type == "float"
]


@pytest.mark.parametrize(("config", "setting"), FLOATS, ids=lambda v: getattr(v, "name", v))
def test_a_number_is_a_finite_float(config: Any, setting: str) -> None:
    for wrong in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ValueError, match=f"{setting} must be a finite number, not -?(nan|inf)"):
            config(**{setting: wrong})
    if setting in ("epsilon", "eta") and config.name not in ("mirostat",):
        return  # the only integer in their range is 0, which turns them off
    result = getattr(config(**{setting: 1}), setting)
    assert isinstance(result, float)
    assert result == 1.0


def test_integers_are_passed_on_as_transformers_expects_them() -> None:
    lm, prefix = TableLM(vocab_size=6), prefixes(2, width=4)
    for config, same in (
        (Sample(temperature=2, top_h=1), "sample:temperature=2.0"),
        (Greedy(repetition_penalty=2), "greedy:repetition_penalty=2.0"),
    ):
        assert prefixcap.plugin.specs.to_spec(config) == same
        assert prefixcap.decode(lm, prefix, config) == prefixcap.decode(lm, prefix, same)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("beam:length_penalty=1e9", "length_penalty must be between -10 and 10, not 1000000000.0"),
        ("constrained:length_penalty=-11", "length_penalty must be between -10 and 10, not -11.0"),
        ("best-of:length_penalty=nan", "length_penalty must be a finite number, not nan"),
        ("guidance:scale=inf", "scale must be a finite number, not inf"),
        ("sample:temperature=1e-39", "temperature must be at least 1e-06, not 1e-39"),
        ("mirostat:temperature=0", "temperature must be greater than 0, not 0.0"),
    ],
)
def test_settings_that_would_give_nan_scores_are_refused(spec: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.Registry().parse(prefixcap.DecoderConfig, spec)


@pytest.mark.parametrize("penalty", [-10, 10])
@pytest.mark.parametrize("norm", ["power", "gnmt"])
def test_the_greatest_penalties_still_give_finite_scores(penalty: int, norm: str) -> None:
    spec = f"beam:length_penalty={penalty},length_norm={norm},num_beams=2"
    lm, prefix = TableLM(vocab_size=6), prefixes(1, width=4)
    (result,) = prefixcap.decode(lm, prefix, spec, max_new_tokens=300, stop_ids=[])[0]
    assert -float("inf") < result.score < 0
