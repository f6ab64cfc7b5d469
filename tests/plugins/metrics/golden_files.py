"""Read the recorded predictions and their scores."""

from __future__ import annotations

import json
from pathlib import Path

from prefixcap.interfaces.metric import Record


def read(shared: Path, name: str) -> list[Record]:
    lines = (shared / "data" / "coco_eval" / f"{name}.jsonl").read_text().splitlines()
    return [
        Record(image=d["image"], references=tuple(d["references"]), prediction=d["prediction"])
        for d in map(json.loads, lines)
    ]


def golden(shared: Path, name: str) -> dict[str, float]:
    result: dict[str, float] = json.loads((shared / "data/coco_eval/golden.json").read_text())[name]
    return result
