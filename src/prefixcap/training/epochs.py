"""The record of a training's epochs: as a history, as lines for people, and as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

LISTS = ("train_loss", "val_loss", "seconds", "memory", "learning_rate", "samples", "val_scores")
"""The parts of a history that have an item for each finished epoch."""


def new_history() -> dict[str, Any]:
    """Return the history of a training before its first step."""
    return {"loss": [], **{name: [] for name in LISTS}, "flops": 0}


def cut(history: dict[str, Any], epochs: int, steps: int) -> None:
    """Remove what came after some finished epochs, of so many steps each."""
    del history["loss"][epochs * steps :]
    for name in LISTS:
        del history[name][epochs:]


def rows(history: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the columns of each finished epoch.

    They are `epoch` (from 1), `steps` (of all epochs so far), `learning_rate` (the mapper's in the
    last step), `train_loss` (the mean over the epoch's steps), `val_loss` if there are val images,
    the scores of val captions by their names, and a `caption of ID` for each sample.
    """
    epochs = len(history["train_loss"])
    for number in range(epochs):
        row = {"epoch": number + 1, "steps": len(history["loss"]) * (number + 1) // epochs}
        row |= {
            name: history[name][number]
            for name in ("learning_rate", "train_loss", "val_loss")
            if len(history[name]) > number
        }
        if len(history["val_scores"]) > number:
            row |= history["val_scores"][number]
        samples = history["samples"][number] if len(history["samples"]) > number else {}
        yield row | {f"caption of {image}": caption for image, caption in samples.items()}


def to_csv(history: Mapping[str, Any]) -> str:
    """Return the columns of all epochs as CSV.

    It has neither times nor memory, so that it is the same each time.
    """
    records = list(rows(history))
    text = io.StringIO()
    # a score may be undefined in some epochs
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def lines(history: Mapping[str, Any]) -> list[str]:
    """Return the last epoch for people: a line of numbers, and one for each sample caption."""
    *_, row = rows(history)
    numbers = [
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in row.items()
        if isinstance(value, float)
    ]
    samples = history["samples"][-1] if history["samples"] else {}
    captions = [f"  {image}: {' '.join(caption.split())}" for image, caption in samples.items()]
    return [f"epoch {row['epoch']}: {', '.join(numbers)}", *captions]
