"""Steps to a val loss from random weights and from ridge regression (`start=ridge`).

    python benchmarks/start.py                              # the drawn scenes
    python benchmarks/start.py --data ../shared/data        # ClipCap's small GPT-2 on Flickr8k

A line for each mapper, seed and start: the val loss before the first step and after the numbers of
steps of `MARKS`, and the number of steps (a multiple of `--every`) after which it is at most the
one that random weights reach at the end. The language model is frozen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prefixcap.captioning.encode_images import encode
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training.batches import CaptionBatch, TokenizedCaption, batches, tokenize
from prefixcap.training.config import TrainingConfig
from prefixcap.training.initialization import build_prefixer, prefix_shape
from prefixcap.training.trainer import Trainer, fused_activations

MARKS = (0, 20, 100, 200, 400)
VAL_CAPTIONS = 200


def main() -> None:
    """Print a line for each training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--mappers", nargs="+", default=["linear", "mlp"])
    parser.add_argument("--prefix-len", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=10)
    args = parser.parse_args()
    lm, training, splits = scenes() if args.data is None else flickr(args.data)
    for mapper in args.mappers:
        for seed in args.seeds:
            goal = None
            for start in ("random", "ridge"):
                began = time.perf_counter()
                config = TrainingConfig.from_json(training | {"start": start})
                curve = losses(lm, mapper, config, splits, seed, args)
                goal = curve[-1] if goal is None else goal
                reached = next((i for i, loss in enumerate(curve) if loss <= goal), None)
                marks = [f"{curve[m // args.every]:.3f}" for m in MARKS if m <= args.steps]
                print(
                    f"{mapper} seed {seed} {start:6}",
                    *marks,
                    "steps",
                    None if reached is None else reached * args.every,
                    f"({time.perf_counter() - began:.0f} s)",
                    flush=True,
                )


Splits = dict[str, tuple[Tensor, list[Sequence[str]]]]


def scenes() -> tuple[LanguageModel, dict[str, Any], Splits]:
    """Load the drawn scenes, encoded, and their GPT-2."""
    registry = default_registry()
    data = registry.parse(DatasetConfig, "scenes").build()
    encoder = registry.parse(EncoderConfig, "scenes-clip").build()
    splits: Splits = {}
    for split in ("train", "val"):
        examples = data.examples(split)
        features = encode(encoder, [example.image for example in examples])
        splits[split] = features, [example.references for example in examples]
    return registry.parse(LMConfig, "scenes-gpt2").build(), {}, splits


def flickr(folder: Path) -> tuple[LanguageModel, dict[str, Any], Splits]:
    """Load `flickr8k_clip`, and the GPT-2 that ClipCap's code tuned on its training split."""
    from prefixcap_clipcap.convert import import_checkpoint

    registry = default_registry()
    place = folder / "flickr8k_clip"
    data = registry.parse(DatasetConfig, f"jsonl:path={place}").build()
    encoder = registry.parse(EncoderConfig, f"precomputed:path={place / 'clip_vitb32.npy'}").build()
    splits: Splits = {}
    for split in ("train", "val"):
        examples = data.examples(split)
        features = encode(encoder, [example.image for example in examples])
        splits[split] = features, [example.references for example in examples]
    models = folder / "clipcap"
    lm = import_checkpoint(models / "mlp_k10.pt", "mlp", 10, lm=str(models)).lm
    lm.module.requires_grad_(False)
    return lm, {"end": ".", "caption_format": "plain"}, splits


def losses(
    lm: LanguageModel,
    mapper: str,
    config: TrainingConfig,
    splits: Splits,
    seed: int,
    args: argparse.Namespace,
) -> list[float]:
    """Train, and return the val loss before the first step and after every `args.every` steps."""
    torch.manual_seed(seed)
    features, references = splits["train"]
    captions = tokenize(lm, references, config)
    texts: list[list[Sequence[int]]] = [[] for _ in references]
    for caption in captions:
        texts[caption.row].append(caption.ids if config.end != "eos" else caption.ids[:-1])
    mapper_config = default_registry().parse(MapperConfig, mapper)
    tuning = default_registry().parse(TuningConfig, "frozen")
    shape = prefix_shape(lm, mapper_config, tuning, args.prefix_len, features)
    prefixer = build_prefixer(lm, mapper_config, shape, features, config, texts)
    trainer = Trainer(lm, prefixer, config, args.steps)
    val_features, val_references = splits["val"]
    val = tokenize(lm, val_references, config)[:VAL_CAPTIONS]
    curve = [evaluate(trainer, val_features, val)]
    with fused_activations(lm.module):
        for step, batch in enumerate(endless(captions, config, seed), 1):
            if step > args.steps:
                return curve
            trainer.step(features[batch.rows], batch)
            if step % args.every == 0:
                curve.append(evaluate(trainer, val_features, val))
    raise AssertionError


def endless(
    captions: Sequence[TokenizedCaption], config: TrainingConfig, seed: int
) -> Iterator[CaptionBatch]:
    """Yield the batches of one epoch after the other."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from batches(captions, config.batch_size, generator)


def evaluate(trainer: Trainer, features: Tensor, captions: Sequence[TokenizedCaption]) -> float:
    """Return the loss of captions."""
    batch = CaptionBatch.of(captions)
    with torch.no_grad():
        return trainer.loss(features[batch.rows], batch).item()


if __name__ == "__main__":
    main()
