"""The trainings of a study, as a report shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefixcap.report import lines
from prefixcap.report.content import Curve
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import varied


def curves(found: SavedStudy) -> tuple[list[Curve], list[str]]:
    """Returns the trainings in the order of the study, and the models that have no record of it."""
    more = varied(found.rows)
    models = {row["model"]: row for row in found.rows}
    told = {model: found.histories.get(model, {}) for model in models}
    known = [model for model, history in told.items() if history.get("train_loss")]
    made = [_curve(model, models[model], told[model], more) for model in known]
    return made, [model for model in models if model not in known]


def _curve(
    model: str, row: Mapping[str, Any], history: Mapping[str, Any], more: list[str]
) -> Curve:
    numbers = {name: value for name, value in lines.facts(row).items() if name != "captions/s"}
    return Curve(
        id=Path(model).name,
        panel=lines.panel(row["mapper"], row, more),
        prefix_length=row["prefix_length"],
        seed=row["seed"],
        columns={
            "mapper": str(row["mapper"]),
            "P": str(row["prefix_length"]),
            **{key: str(row[key]) for key in more},
            "seed": str(row["seed"]),
        },
        steps=tuple(history.get("loss", ())),
        train=tuple(history["train_loss"]),
        val=tuple(history.get("val_loss", ())),
        best=history.get("best_epoch", len(history["train_loss"])),
        facts={"epochs": float(len(history["train_loss"])), **numbers},
    )
