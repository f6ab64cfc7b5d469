"""Families of language models through `hf`, compared with transformers' own results."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from families import END, FAMILIES, START, family, prefixes, save_family
from prefixcap_hf.configs import HF

import prefixcap
from prefixcap import Captioner, PrefixcapError, TrainingConfig, train
from prefixcap.engine.tree_session import TreeSession
from prefixcap.interfaces.session import SessionOptions

torch.set_num_threads(1)

ROOT = Path(__file__).parents[3]

STOPS, STEPS = [END, 3, 5], 9
WINDOWED = ("mistral", "gemma2", "gemma3", "phi3")
CAPTIONS = [["a dog runs", "dogs"], ["the cat is on a mat", "two cats"]]
TRAINING = TrainingConfig(
    epochs=2, batch_size=4, warmup_steps=0, schedule="constant", learning_rate=3e-3, lm_lr_scale=1.0
)


def features() -> torch.Tensor:
    return torch.eye(2, 6) + 0.1


def generated(lm: Any, prefix: torch.Tensor, beams: int) -> list[tuple[int, ...]]:
    """Let transformers write captions, after the tokens that precede every prefix."""
    with torch.no_grad():
        whole = lm.prepend_tokens(prefix)
        ids = lm.model.generate(
            inputs_embeds=whole,
            attention_mask=torch.ones(whole.shape[:2], dtype=torch.long),
            do_sample=False,
            num_beams=beams,
            max_new_tokens=STEPS,
            eos_token_id=STOPS,
            pad_token_id=END,
        )
    return [tuple(takewhile(lambda token: token not in STOPS, row)) for row in ids.tolist()]


# With prefixes of 12 tokens, captions outgrow the sliding windows of 16.
@pytest.mark.parametrize(
    ("name", "length"), [*((name, 3) for name in FAMILIES), *((name, 12) for name in WINDOWED)]
)
def test_greedy_and_beam_search_equal_generate(name: str, length: int, tmp_path: Path) -> None:
    save_family(tmp_path, name, starts=name[:5] in ("llama", "gemma"))
    lm, prefix = HF(model=str(tmp_path)).build(), prefixes(6, length)
    for decoder, beams in (("greedy", 1), ("beam:num_beams=3", 3)):
        captions = prefixcap.decode(lm, prefix, decoder, max_new_tokens=STEPS, stop_ids=STOPS)
        assert [hypotheses[0].ids for hypotheses in captions] == generated(lm, prefix, beams)
    # training computes the same probabilities as decoding
    captions = prefixcap.decode(lm, prefix, "greedy", max_new_tokens=STEPS, stop_ids=())
    ids = torch.tensor([hypotheses[0].ids for hypotheses in captions])
    with torch.inference_mode():
        logits = lm.teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool))
    assert torch.equal(logits.argmax(-1), ids)
    sums = logits.log_softmax(-1).gather(2, ids[..., None]).sum((1, 2)).tolist()
    assert [h[0].logprob for h in captions] == pytest.approx(sums, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "tuning"),
    [
        *((name, "frozen") for name in FAMILIES),
        *((name, "full") for name in FAMILIES if "tied" in name),
    ],
)
def test_a_trained_run_is_loaded_again(name: str, tuning: str, tmp_path: Path) -> None:
    """The tokenizer has neither a pad token nor one that begins a text."""
    save_family(tmp_path / "lm", name)
    spec = f"hf:model={tmp_path / 'lm'}"
    model = train(spec, "mlp", 2, tuning, features(), CAPTIONS, config=TRAINING)
    losses = model.history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "run")
    loaded = Captioner.load(tmp_path / "run")
    kept, again = (
        prefixcap.decode(
            one.lm, one.prefixes(features()), "beam", max_new_tokens=6, stop_ids=one.stop_ids
        )
        for one in (model, loaded)
    )
    assert kept == again


def test_the_table_says_how_each_family_is_decoded() -> None:
    page = (ROOT / "docs" / "howto" / "language-models.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| .* \| `(\w+For\w+|\w+HeadModel)` \| `(\w+)` \|$", page, re.M))
    for name, (kind, _) in FAMILIES.items():
        session = prefixcap.from_transformers(family(name)).start(prefixes(1), SessionOptions())
        if isinstance(session, TreeSession):
            assert type(session._network).__name__ == table[kind], name
        else:
            assert type(session).__name__ == table[kind], name
    assert set(table) == {kind for kind, _ in FAMILIES.values()}


@pytest.mark.parametrize(
    ("prepend", "starts", "tokens"),
    [
        ("auto", True, [START]),
        ("auto", False, []),
        ("none", True, []),
        ("bos", True, [START]),
        ("<end>ab", False, [END, 0, 1]),
    ],
)
def test_a_model_gets_the_tokens_that_begin_its_texts(
    prepend: str, starts: bool, tokens: list[int], tmp_path: Path
) -> None:
    save_family(tmp_path, "llama", starts=starts)
    lm, prefix = HF(model=str(tmp_path), prepend=prepend).build(), prefixes(2)
    first = lm.embed(torch.tensor(tokens, dtype=torch.long)).expand(2, -1, -1)
    assert torch.equal(lm.prepend_tokens(prefix), torch.cat([first, prefix], 1))
    assert lm.max_positions == 64 - len(tokens)


def test_a_token_that_begins_texts_and_is_not_the_models_is_left_out(tmp_path: Path) -> None:
    save_family(tmp_path, "llama", starts=True, vocab_size=START, bos_token_id=None)
    lm = HF(model=str(tmp_path)).build()
    assert torch.equal(lm.prepend_tokens(prefixes(1)), prefixes(1))
    with pytest.raises(PrefixcapError, match=f"prepend: {START} is not in the vocabulary of"):
        HF(model=str(tmp_path), prepend="bos").build()
