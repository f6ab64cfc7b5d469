from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Shell = Callable[..., tuple[int, str, str]]
GOOD = {"image": "1", "references": ["a cat sits", "the cat"], "prediction": "a cat"}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def test_scores_as_one_object(shell: Shell, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", GOOD, {**GOOD, "image": 2, "prediction": "a dog runs off"})
    status, out, _ = shell("eval", file, "--metrics", "length,distinct:max_n=1", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["Length"] == 3.0
    assert found["Distinct_captions"] == 1.0
    _, out, _ = shell("eval", file, "--metrics", "length")
    assert out.splitlines()[0].split() == ["Length", "3.0000"]


def test_the_four_metrics_by_their_names(shell: Shell, shared: Path) -> None:
    file = shared / "data" / "coco_eval" / "fakecap_val2014.jsonl"
    golden = json.loads((file.parent / "golden.json").read_text())["fakecap_val2014"]
    status, out, _ = shell("eval", file, "--json", "--metrics", "bleu,meteor,rouge,cider")
    assert status == 0
    found = json.loads(out)
    names = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr"]
    assert list(found) == names
    assert found == pytest.approx({name: golden[name] for name in names}, abs=1e-6)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('{"image": 1', "line 2: not JSON ("),
        ("[]", "line 2: expected a JSON object with 'image', 'references', 'prediction'"),
        (
            {"image": "1", "references": ["a"], "predicton": "b"},
            "line 2: no key 'prediction'; did you mean 'predicton'? known: ",
        ),
        ({**GOOD, "prediction": None}, "line 2: 'prediction' must be a text, not None"),
        (
            {**GOOD, "references": []},
            "line 2: 'references' must be a list of at least one text, not []",
        ),
        (
            {**GOOD, "references": "a cat"},
            "line 2: 'references' must be a list of at least one text, not 'a cat'",
        ),
        ({**GOOD, "image": [1]}, "line 2: 'image' must be a text, not [1]"),
    ],
)
def test_a_broken_line_is_named(shell: Shell, tmp_path: Path, row: object, sentence: str) -> None:
    file = write(tmp_path / "p.jsonl", GOOD, row)
    status, out, err = shell("eval", file, "--metrics", "length")
    assert (status, out) == (2, "")
    assert err.startswith(f"prefixcap: {file}, {sentence}")


def test_an_empty_file(shell: Shell, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl")
    status, _, err = shell("eval", file)
    assert status == 2
    assert err.startswith(f"prefixcap: {file} is empty: ")
