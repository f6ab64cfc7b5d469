"""The trainings of a study, for a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefixcap.report import rows
from prefixcap.report.content import SPEED, Curve
from prefixcap.study.analysis.reader import SavedStudy
from prefixcap.study.analysis.rows import varied


def curves(study: SavedStudy) -> tuple[list[Curve], list[str]]:
    """Return the trainings in the study's order, and the models without a training history."""
    more = varied(study.rows)
    models = {row["model"]: row for row in study.rows}
    histories = {model: study.histories.get(model, {}) for model in models}
    known = [model for model, history in histories.items() if history.get("train_loss")]
    drawn = [_curve(model, models[model], histories[model], more) for model in known]
    return drawn, [model for model in models if model not in known]


def _curve(
    model: str, row: Mapping[str, Any], history: Mapping[str, Any], more: list[str]
) -> Curve:
    numbers = {name: value for name, value in rows.facts(row).items() if name != SPEED}
    return Curve(
        id=Path(model).name,
        panel=rows.panel(row["mapper"], row, more),
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
