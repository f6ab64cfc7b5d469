"""The shapes of a study's JSON files, as far as something that reads them depends on it."""

from __future__ import annotations

from prefixcap.util.shapes import Maybe

_NAMED = {"name": str}

STUDY_CONFIG = {
    **{key: [_NAMED] for key in ("encoders", "mappers", "lms", "tunings", "decoders", "metrics")},
    "prompts": Maybe([_NAMED]),
    "dataset": _NAMED,
    "bridges": Maybe([_NAMED]),
    "train_on": Maybe([str]),
    "prefix_lengths": [int],
    "seeds": [int],
    "training": dict,
    "max_new_tokens": int,
    "dtype": str,
    "device": str,
    "limit": Maybe(int),
    "split": Maybe(str),
    "study": Maybe(str),
    "versions": Maybe(dict),
}
"""`config.json` of a study."""

CELL_SCORES = {
    str: {
        "key": str,
        "values": {str: float},
        "per_image": {str: [float]},
        "left_out": Maybe(str),
    }
}
"""`scores.json` of a cell."""

CELL_INFO = {
    "key": Maybe(str),
    "captions_per_second": Maybe(float),
    "flops": Maybe(float),
    "captions_sha256": Maybe(str),
}
"""`cell.json`."""

_INTERVALS = Maybe({str: Maybe((Maybe(float), Maybe(float)))})
_ROW = {"cell": str, "scores": {str: float}, "intervals": _INTERVALS}

TEST_LINE = {"image": str, "references": [str]}
"""Of `test.jsonl`."""

STUDY_SCORES = {
    "study": Maybe(str),
    "complete": Maybe(bool),
    "rows": [
        {
            **_ROW,
            **dict.fromkeys(("encoder", "lm", "tuning", "mapper", "decoder", "model"), str),
            **dict.fromkeys(("prefix_length", "seed"), int),
            **dict.fromkeys(
                (
                    *("captions_per_second", "decoding_flops", "training_seconds"),
                    *("training_flops", "training_memory", "val_loss"),
                ),
                Maybe(float),
            ),
            **dict.fromkeys(("split", "train_on", "bridge", "prompt"), Maybe(str)),
            **dict.fromkeys(("trained_parameters", "images", "epochs", "best_epoch"), Maybe(int)),
        }
    ],
    "baselines": [{**_ROW, "name": str, "encoder": Maybe(str)}],
    "digests": Maybe({str: str}),
    "skipped_images": Maybe([str]),
    "warnings": Maybe([str]),
}
"""`scores.json` of a study."""

ANALYSIS = {
    "key": str,
    "level": float,
    "resamples": int,
    "images": int,
    "scores": [str],
    "scales": {str: {"better": Maybe(str)}},
    "entries": [
        {
            "label": str,
            "fields": dict,
            "baseline": bool,
            "seeds": [int],
            "cells": [str],
            "scores": {str: float},
            "seed_std": {str: float},
            "intervals": {str: (float, float)},
        }
    ],
}
"""`analysis.json`."""
