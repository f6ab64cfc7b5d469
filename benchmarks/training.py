"""Training steps compared with a loop in ClipCap's manner: same model, captions and batch.

    python benchmarks/training.py                       # three settings, some minutes on two cores
    python benchmarks/training.py --settings frozen-mlp-10 --dtype bfloat16 --device cuda

The model has GPT-2 small's shape and random weights. ClipCap's loop pads captions to 40 tokens,
repeats the prefix for each caption, ignores token 0 in the loss, and computes the gradients of all
weights even if GPT-2 is frozen. Each row has the captions per second of both sides (the best of
`--repeats` alternating runs), their ratio, the share of the machine's rate of matrix products
(GFLOP/s, measured next to the row) at which the needed work is done, and the peak memory above
what was in use before. Needed are, per caption, two operations a weight for each token forward and
backward, and two more if the weight is trained, with a fifth of the prefix; and the vocabulary for
the caption's tokens.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import attrs
import torch
from measuring import Ceiling, Run, peak_memory, processor, settle
from torch import Tensor, nn

from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.engine.causal_lm import from_transformers
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.plugin.registry import default_registry
from prefixcap.training.batches import CaptionBatch, TokenizedCaption
from prefixcap.training.config import TrainingConfig
from prefixcap.training.trainer import Trainer, fused_activations
from prefixcap.util.runtime import tune_allocator

BATCH, PER_IMAGE, PADDED, FEATURE = 40, 5, 40, 512
STEPS = 2
SETTINGS = {
    "frozen-mlp-10": ("mlp", 10, False),
    "full-mlp-10": ("mlp", 10, True),
    "frozen-linear-40": ("linear", 40, False),
}
HEADER = "setting           dtype      ours  theirs   ratio   share GFLOP/s    ours  theirs MiB"


@attrs.frozen
class World:
    """A model, features (B,D) and captions of `STEPS` + 2 batches."""

    model: Any
    features: Tensor
    captions: list[TokenizedCaption]

    def batches(self) -> Iterator[list[TokenizedCaption]]:
        """Yield the captions of each batch."""
        for first in range(0, len(self.captions), BATCH):
            yield self.captions[first : first + BATCH]


def make_world(device: str, dtype: torch.dtype, layers: int) -> World:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model: Any = GPT2LMHeadModel(GPT2Config(n_layer=layers))
    model.to(device, dtype)
    images = (STEPS + 2) * BATCH // PER_IMAGE
    # captions of COCO have about 11 tokens, and one ends them
    lengths = (11 + 2.5 * torch.randn(images * PER_IMAGE)).round().clamp(6, 25).int() + 1
    captions = [
        TokenizedCaption(number // PER_IMAGE, tuple(torch.randint(1, 50257, (length,)).tolist()))
        for number, length in enumerate(lengths.tolist())
    ]
    return World(model, torch.randn(images, FEATURE), captions)


def make_prefixer(world: World, mapper: str, prefix_length: int) -> Prefixer:
    torch.manual_seed(1)
    shape = MapperShape(
        feature_width=FEATURE,
        feature_tokens=None,
        prefix_length=prefix_length,
        embedding_width=world.model.config.n_embd,
    )
    module = default_registry().parse(MapperConfig, mapper).build(shape)
    return Prefixer(FeatureNorm(torch.zeros(FEATURE)), module, shape).to(world.model.device)


def ours(world: World, mapper: str, prefix_length: int, full: bool) -> Iterator[float]:
    """Yield the loss of each step of prefixcap's training."""
    lm = from_transformers(world.model)
    world.model.requires_grad_(full).train(full)
    prefixer = make_prefixer(world, mapper, prefix_length)
    with fused_activations(world.model):
        trainer = Trainer(lm, prefixer, TrainingConfig(), STEPS + 2)
        for captions in world.batches():
            batch = CaptionBatch.of(captions)
            yield trainer.step(world.features[batch.rows], batch)


def theirs(world: World, mapper: str, prefix_length: int, full: bool) -> Iterator[float]:
    """Yield the loss of each step of a loop in ClipCap's manner."""
    model = world.model.requires_grad_(True).train(full)
    prefixer = make_prefixer(world, mapper, prefix_length)
    trained = [*prefixer.parameters(), *(model.parameters() if full else ())]
    optimizer = torch.optim.AdamW(trained, lr=2e-5)
    for captions in world.batches():
        ids = torch.zeros(len(captions), PADDED, dtype=torch.long)
        mask = torch.zeros(len(captions), prefix_length + PADDED)
        for number, caption in enumerate(captions):
            ids[number, : len(caption.ids)] = torch.tensor(caption.ids)
            mask[number, : prefix_length + len(caption.ids)] = 1
        ids, mask = ids.to(model.device), mask.to(model.device)
        features = world.features[[caption.row for caption in captions]].to(model.device)
        model.zero_grad()
        optimizer.zero_grad()
        prefix = prefixer(features).to(model.dtype)
        inputs = torch.cat([prefix, model.transformer.wte(ids)], 1)
        logits = model(inputs_embeds=inputs, attention_mask=mask).logits[:, prefix_length - 1 : -1]
        loss = nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(), ids.flatten(), ignore_index=0
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield loss.item()


def needed(world: World, prefix_length: int, full: bool) -> float:
    """Return the needed operations of a caption, in GFLOP, without the mapper's."""
    config = world.model.config
    trunk, head = 12 * config.n_embd**2 * config.n_layer, config.n_embd * config.vocab_size
    tokens = sum(len(caption.ids) for caption in world.captions) / len(world.captions)
    rows = tokens - 1 + prefix_length / PER_IMAGE
    return float(1e-9 * (6 if full else 4) * (trunk * rows + head * tokens))


def measured(run: Run, side: Any, device: torch.device) -> None:
    """Time the steps after the first one, then measure the memory of the last, which takes time."""
    steps: Iterator[float] = side()
    next(steps)
    settle(device)
    begin = time.perf_counter()
    for _ in islice(steps, STEPS):
        settle(device)
    run.seconds = min(run.seconds, time.perf_counter() - begin)
    with peak_memory(run, device):
        next(steps)
        settle(device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--layers", type=int, default=12, help="fewer to try the script")
    parser.add_argument("--only-ours", action="store_true")
    args = parser.parse_args()
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    tune_allocator()
    print(f"{processor(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(HEADER)
    for name in args.settings:
        mapper, prefix_length, full = SETTINGS[name]
        runs = Run(), Run()
        for _ in range(args.repeats):
            for run, side in zip(runs, (ours, theirs), strict=True):
                if side is ours or not args.only_ours:
                    world = make_world(args.device, dtype, args.layers)
                    measured(run, partial(side, world, mapper, prefix_length, full), device)
        rate = Ceiling(world.model, rows=BATCH * 14).measure()
        rates = [STEPS * BATCH / run.seconds for run in runs]
        share = needed(world, prefix_length, full) * rates[0] / rate
        memory = [run.memory / 2**20 for run in runs]
        ratio = rates[0] / rates[1] if rates[1] else math.nan
        print(
            f"{name:17} {args.dtype:9} {rates[0]:5.1f}  {rates[1]:6.1f}  {ratio:6.2f}"
            f"   {share:5.2f} {rate:7.0f}  {memory[0]:6.0f}  {memory[1]:6.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
