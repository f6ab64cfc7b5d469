"""Captions of a language model that was not trained, by a decoder that sees the image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from cli_world import World

Shell = Callable[..., tuple[int, str, str]]


def test_captions_without_training(shell: Shell, world: World, tmp_path: Path) -> None:
    run, words = tmp_path / "run", ["--encoder", "scenes-clip", "--lm", "scenes-gpt2"]
    words += ["--dataset", f"jsonl:path={world.data}", "--limit", "6", "--max-new-tokens", "4"]
    words += ["--mapper", "begin:text=A", "--prefix-len", "2", "--decoder", "magic:top_k=6"]
    words += ["--decoder", "greedy", "--metrics", "length"]
    status, out, err = shell("bench", *words, "--out", run, "--json")
    assert status == 0, err
    rows = json.loads(out)["rows"]
    assert [(row["mapper"], row["trained_parameters"]) for row in rows] == [("begin:text=A", 0)] * 2
    assert "training begin" not in err
    lines = list(map(json.loads, (run / "captions.jsonl").read_text().splitlines()))
    magic, greedy = (
        {line["captions"][0]["text"] for line in lines if f"-{name}-" in line["cell"]}
        for name in ("magic", "greedy")
    )
    # a model without a training has its page too
    status, _, err = shell("report", run)
    assert status == 0, err
    # a wrong prefix length is known before anything is trained
    words[words.index("2")] = "5"
    status, _, err = shell("bench", *words, "--mapper", "mlp", "--out", tmp_path / "other")
    assert status == 2
    assert "text='A' with start=true needs a prefix length of 2 (--prefix-len 2)" in err
    assert "training mlp" not in err
    # without the image, all captions are the same
    assert len(greedy) == 1
    assert len(magic) > 1
