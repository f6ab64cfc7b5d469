"""The default tokens that end a text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from core.engine.models import made, prefixes

from prefixcap import decode, from_transformers
from prefixcap.testing.table_lm import TableLM

torch.set_num_threads(1)


class Ending:
    """A tokenizer with an end-of-text token."""

    def __init__(self, eos_token_id: int | None) -> None:
        self.eos_token_id = eos_token_id

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return " ".join(map(str, ids))


@pytest.mark.parametrize(
    ("config", "generation", "tokenizer", "wanted"),
    [
        (7, None, None, (7,)),
        (None, None, None, ()),
        ([9, 7], None, None, (9, 7)),
        # Llama-3 Instruct: the tokenizer's token ends a turn.
        ([9, 7], None, 7, (7, 9)),
        (7, [9, 7, 8], 7, (7, 9, 8)),
        # A config that was never adapted to the vocabulary.
        (2, [2, 3], 7, (7,)),
        ([7, 99], None, None, (7,)),
        ([99, 7], None, None, ()),
    ],
)
def test_all_tokens_in_the_configs_end_a_text(
    config: int | list[int] | None,
    generation: int | list[int] | None,
    tokenizer: int | None,
    wanted: tuple[int, ...],
) -> None:
    model = made("llama")
    model.config.eos_token_id, model.generation_config.eos_token_id = config, generation
    lm = from_transformers(model, None if tokenizer is None else Ending(tokenizer))
    assert lm.eos_ids == wanted
    assert lm.eos_id == (wanted[0] if wanted else None)


def test_any_end_token_ends_a_caption() -> None:
    model, stops = made("llama"), [5, 11, 17, 23]
    model.config.eos_token_id, model.generation_config.eos_token_id = stops, None
    lm, options = from_transformers(model), {"max_new_tokens": 30}
    result = decode(lm, prefixes(12), "top-p", **options)
    assert result == decode(lm, prefixes(12), "top-p", stop_ids=stops, **options)
    assert len({hypothesis.stop_id for (hypothesis,) in result} - {None}) > 1


def test_eos_ids_default_to_eos_id() -> None:
    lm = TableLM(vocab_size=5)
    assert lm.eos_ids == (lm.eos_id,)
