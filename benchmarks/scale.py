"""How memory and time grow with cells and images, on studies whose captions are made up.

    python benchmarks/scale.py                       # all three, about a quarter of an hour
    python benchmarks/scale.py --cells 200 --images 50 --only cells

Three study folders are written by the same code that `bench` runs, without training or decoding: a
grid of many cells on few images, and two cells on 5,000 and on 40,000 images. Each phase runs in a
process of its own, whose seconds and peak memory (resident, and that of its children: the Java
tokenizer and METEOR) are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs

WORDS = [f"{first}{last}" for first in "bcdfghklmnprstvw" for last in ("an", "el", "ir", "ox", "u")]
GRID_METRICS = ("bleu", "rouge", "cider", "length", "distinct", "repetition:max_n=4")
SET_METRICS = ("bleu", "meteor", "rouge", "cider", "length", "distinct", "diversity")


@attrs.frozen(kw_only=True)
class Shape:
    """A study to make up: its numbers of cells, images, and captions per image."""

    name: str
    cells: int
    images: int
    captions: int
    metrics: tuple[str, ...]

    @property
    def tokenized(self) -> bool:
        """Whether the tokenizer is replaced, because Java starts twice a cell otherwise.

        The made-up words are the tokenizer's own output.
        """
        return self.cells > 10


class MadeUp:
    """The study's config, images, models and captions."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        from prefixcap.interfaces.dataset import Example, ImageItem
        from prefixcap.study.artifacts.folder import StudyJob
        from prefixcap.study.definition.study import Study

        decoders = min(shape.cells, 50)
        lengths = -(-shape.cells // decoders)
        self.shape = shape
        self.study = Study(
            dataset="scenes",
            prefix_lengths=tuple(range(1, lengths + 1)),
            decoders=[f"beam:num_beams={beams}" for beams in range(1, decoders + 1)],
            metrics=shape.metrics,
            device="cpu",
        )
        self.job = StudyJob(self.study, folder)
        stream = random.Random(0)
        self.examples = [
            Example(
                image=ImageItem(id=f"image-{n:06d}", index=n),
                references=tuple(_sentence(stream) for _ in range(5)),
            )
            for n in range(shape.images)
        ]

    def cells(self) -> Iterator[Any]:
        """Yield the planned cells, with made-up keys."""
        from prefixcap.plugin import specs
        from prefixcap.study.artifacts.keys import PlannedCell

        study, files = self.study, self.job.files
        for model in study.models(study.encoders[0], study.lms[0]):
            for decoder in study.decoders:
                key = specs.digest(model.prefix_length, decoder)
                yield PlannedCell(
                    model=model,
                    model_folder=files.models / f"{model.name}-00000000",
                    decoder=decoder,
                    key=key,
                    scores_key=key,
                    folder=files.cells / f"{model.name}-{decoder.name}-{key[:8]}",
                )

    def lines(self, cell: Any) -> list[dict[str, Any]]:
        """Make up a cell's captions: better ones for longer prefixes and more beams."""
        stream = random.Random(cell.key)
        kept = 0.3 + 0.01 * cell.model.prefix_length + 0.001 * cell.decoder.num_beams
        return [
            {
                "image": example.image.id,
                "captions": [
                    _caption(stream, example.references[0], kept)
                    for _ in range(self.shape.captions)
                ],
            }
            for example in self.examples
        ]


def _sentence(stream: random.Random) -> str:
    return " ".join(stream.choices(WORDS, k=stream.randint(7, 13)))


def _caption(stream: random.Random, reference: str, kept: float) -> dict[str, Any]:
    words = [w if stream.random() < kept else stream.choice(WORDS) for w in reference.split()]
    text = " ".join(words)
    return {
        "ids": list(range(len(words))),
        "text": text,
        "logprob": -9.5,
        "score": -0.9,
        "finish": "stop",
        "tokens": len(words) + 1,
    }


def make(made: MadeUp) -> None:
    """Write the study's config, models, test images and captions, as `bench` would."""
    from prefixcap.captioning.checkpoint import CONFIG, FORMAT
    from prefixcap.study.analysis.results import Results
    from prefixcap.study.artifacts import captions
    from prefixcap.util.files import write_json

    files = made.job.files
    write_json(files.config, {**made.study.to_json(), "study": "made up", "versions": {}})
    Results(folder=files.path, test=made.examples).write_test()
    steps = [3 - 0.01 * n for n in range(200)]
    history = {"loss": steps, "train_loss": steps[::40], "seconds": [1.0] * 5, "best_epoch": 5}
    for cell in made.cells():
        if not cell.model_folder.exists():
            model = {"format": FORMAT, "history": history, "trained_parameters": 984_960}
            write_json(cell.model_folder / CONFIG, model)
        info = {"key": cell.key, "captions_per_second": 9.5, "flops": 1e9}
        captions.write(cell.folder, made.lines(cell), info)


def score(made: MadeUp) -> None:
    """Score every cell, collect its row and write what is finished, as the runner does."""
    from prefixcap.study.analysis.results import Results
    from prefixcap.study.artifacts import captions
    from prefixcap.study.execution.scoring import Scorer

    if made.shape.tokenized:
        _skip_tokenizer()
    results = Results(
        folder=made.job.files.path,
        study="made up",
        metrics=made.study.metrics,
        test=made.examples,
    )
    scorer = Scorer(made.job, results)
    for cell in made.cells():
        captioned = captions.load(cell)
        assert captioned is not None
        images: Any = _Images(made.examples)
        scores = scorer.score(cell.folder, cell.scores_key, captioned.lines, images, cell.name)
        results.rows.append(_row(made, cell, scores))
        results.captions[cell.name] = captioned.lines[:12]
        results.write_part()
    results.write()


def analyze(made: MadeUp) -> None:
    """Read the study and compute its analysis again."""
    from prefixcap.study.analysis.analyze import analyze as analyze_study
    from prefixcap.study.analysis.reader import load_study

    made.job.files.analysis.unlink(missing_ok=True)
    analyze_study(load_study(made.job.files.path))


def table(made: MadeUp) -> None:
    """Print the study's table: `prefixcap compare DIR`."""
    _shell("compare", str(made.job.files.path))


def compare(made: MadeUp) -> None:
    """Compare two rows: `prefixcap compare DIR::A ::B`."""
    first, second, *_ = [cell.name for cell in made.cells()]
    _shell("compare", f"{made.job.files.path}::{first}", f"::{second}")


def report(made: MadeUp) -> None:
    """Write the report: `prefixcap report DIR`."""
    _shell("report", str(made.job.files.path))


PHASES: Mapping[str, Callable[[MadeUp], None]] = {
    "make": make,
    "score": score,
    "analyze": analyze,
    "table": table,
    "compare": compare,
    "report": report,
}


@attrs.frozen
class _Images:
    test: list[Any]
    test_features: None = None
    text_encoder: None = None

    @property
    def ids(self) -> list[str]:
        return [example.image.id for example in self.test]


def _row(made: MadeUp, cell: Any, scores: Mapping[str, Any]) -> dict[str, Any]:
    from prefixcap.study.execution.training import training_summary

    label = made.study.label
    return {
        "mapper": label(cell.model.mapper),
        "prefix_length": cell.model.prefix_length,
        "decoder": label(cell.decoder),
        **scores,
        "captions_per_second": 9.5,
        "decoding_flops": 1e9,
        **training_summary(cell.model_folder),
        "seed": cell.model.seed,
        "tuning": label(cell.model.tuning),
        "train_on": cell.model.train_on,
        "bridge": "none",
        "encoder": label(cell.model.encoder),
        "lm": label(cell.model.lm),
        "dataset": label(made.study.dataset),
        "images": len(made.examples),
        "model": cell.model_folder.relative_to(made.job.files.path).as_posix(),
        "cell": cell.name,
    }


def _skip_tokenizer() -> None:
    from functools import lru_cache

    from prefixcap_metrics import ptb_tokenizer

    ptb_tokenizer.tokenise = lru_cache(maxsize=8)(lambda texts: texts)


def _shell(*words: str) -> None:
    from prefixcap.cli import main

    with contextlib.redirect_stdout(io.StringIO()):
        status = main(list(words))
    if status:
        raise SystemExit(status)


def run_phase(shape: Shape, folder: Path, phase: str) -> None:
    """Run one phase in this process, and print its seconds and peak memory as JSON."""
    made = MadeUp(shape, folder)
    begin = time.perf_counter()
    PHASES[phase](made)
    seconds = time.perf_counter() - begin
    own, children = (
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(json.dumps({"seconds": seconds, "peak": own, "children": children}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000, help="cells of the grid")
    parser.add_argument("--images", type=int, default=100, help="images of the grid")
    parser.add_argument("--sets", type=int, nargs="*", default=[5000, 40000])
    parser.add_argument("--metrics", nargs="*", default=SET_METRICS, help="metrics of the sets")
    parser.add_argument("--only", choices=["cells", "sets"])
    parser.add_argument("--folder", type=Path, help="keep the studies here")
    parser.add_argument("--phases", nargs="*", default=list(PHASES))
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    grid = Shape(
        name=f"{options.cells:,} cells, {options.images:,} images",
        cells=options.cells,
        images=options.images,
        captions=1,
        metrics=GRID_METRICS,
    )
    sets = [
        Shape(name=f"2 cells, {n:,} images", cells=2, images=n, captions=3, metrics=tuple(m))
        for n, m in ((n, options.metrics) for n in options.sets)
    ]
    shapes = {"cells": [grid], "sets": sets}.get(options.only, [grid, *sets])
    if options.run:
        number, phase = options.run
        run_phase(shapes[int(number)], options.folder, phase)
        return
    with TemporaryDirectory() as temporary:
        for number, shape in enumerate(shapes):
            folder = (options.folder or Path(temporary)) / f"{shape.cells}x{shape.images}"
            print(f"\n{shape.name}: {', '.join(shape.metrics)}", flush=True)
            print(f"{'phase':8} {'seconds':>8} {'peak MiB':>9} {'children':>9}", flush=True)
            for phase in options.phases:
                words = [*sys.argv, "--folder", str(folder), "--run", str(number), phase]
                done = subprocess.run(
                    [sys.executable, *words], stdout=subprocess.PIPE, text=True, check=False
                )
                if done.returncode:
                    print(f"{phase:8} failed", flush=True)
                    continue
                data = json.loads(done.stdout.splitlines()[-1])
                numbers = (data["seconds"], data["peak"], data["children"])
                print(
                    f"{phase:8} {numbers[0]:8.1f} {numbers[1]:9.0f} {numbers[2]:9.0f}", flush=True
                )
            _print_sizes(folder)


def _print_sizes(folder: Path) -> None:
    """Print the sizes of the study's own files, and of the report's page."""
    shown = [*folder.iterdir(), folder / "report" / "report.html"]
    files = {path.name: path.stat().st_size / 1e6 for path in shown if path.is_file()}
    print("MB:", ", ".join(f"{name} {size:.1f}" for name, size in sorted(files.items())))


if __name__ == "__main__":
    main()
