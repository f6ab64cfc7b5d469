"""How the engine's cost grows: captions per second and peak memory, one setting at a time.

    python benchmarks/growth.py --json growth.jsonl            # several minutes on two cores
    python benchmarks/growth.py --draw growth.jsonl docs/images/growth.svg

Beam search on GPT-2 small's shape with random weights. The other settings have the values of
`USUAL`. Memory is the peak above what the model and its packed weights use.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from decoding import make_model, make_prefixes
from measuring import Run, peak_memory

import prefixcap
from prefixcap.util.runtime import dtype_named

USUAL = {"batch": 32, "beams": 5, "prefix": 10, "tokens": 15}
CHANGED = {
    "batch": (1, 2, 4, 8, 16, 32, 64, 128),
    "beams": (1, 2, 3, 5, 8, 12),
    "prefix": (1, 10, 20, 40, 80),
    "tokens": (5, 10, 15, 20, 30, 40),
}
LABELS = {
    "batch": "images per batch",
    "beams": "beams",
    "prefix": "prefix length",
    "tokens": "tokens per caption",
}


def measured(dtype: str, shape: str) -> Iterator[dict[str, Any]]:
    """Run each setting three times; yield the fastest run."""
    model = make_model(False, shape).to(dtype_named(dtype))
    lm = prefixcap.from_transformers(model)
    for changed, values in CHANGED.items():
        for value in values:
            setting = {**USUAL, changed: value}
            prefix = make_prefixes(setting["batch"], setting["prefix"], model.config.n_embd)
            took = float("inf")
            for _ in range(3):
                run = Run()
                with peak_memory(run):
                    start = time.perf_counter()
                    prefixcap.decode(
                        lm,
                        prefix.to(model.dtype),
                        f"beam:num_beams={setting['beams']}",
                        max_new_tokens=setting["tokens"],
                        stop_ids=[],
                        max_rows=setting["batch"] * setting["beams"],
                    )
                    took = min(took, time.perf_counter() - start)
            yield {
                **setting,
                "changed": changed,
                "dtype": dtype,
                "rate": setting["batch"] / took,
                "memory": run.memory / 2**20,
            }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw a panel for each setting: captions per second, and MiB on a second axis."""
    import matplotlib
    from matplotlib import pyplot as plt

    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 8}
    figure, panels = plt.subplots(1, len(CHANGED), figsize=(11, 2.4), layout="constrained")
    for panel, changed in zip(panels, CHANGED, strict=True):
        points = [row for row in rows if row["changed"] == changed]
        values = [row[changed] for row in points]
        memory_axis = panel.twinx()
        panel.plot(values, [row["rate"] for row in points], "o-", color="tab:blue", markersize=3)
        memory_axis.plot(
            values, [row["memory"] for row in points], "s--", color="tab:red", markersize=3
        )
        panel.set_xlabel(LABELS[changed])
        panel.set_ylim(bottom=0)
        memory_axis.set_ylim(bottom=0)
        if changed == "batch":
            panel.set_xscale("log", base=2)
            panel.set_ylabel("captions per second", color="tab:blue")
    memory_axis.set_ylabel("MiB at the peak (dashed)", color="tab:red")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--shape", default="gpt2", choices=["gpt2", "tiny"])
    parser.add_argument("--json", type=Path, help="append the rows to this file")
    parser.add_argument("--draw", nargs=2, type=Path, metavar=("JSON", "SVG"))
    options = parser.parse_args()
    if options.draw:
        source, target = options.draw
        draw([json.loads(text) for text in source.read_text().splitlines()], target)
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for row in measured(options.dtype, options.shape):
        print(
            " ".join(f"{row[name]:>4} {name}" for name in USUAL),
            f"{row['rate']:8.2f} captions/s {row['memory']:7.0f} MiB",
            flush=True,
        )
        if options.json:
            with options.json.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
