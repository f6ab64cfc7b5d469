"""Savings of speculative decoding on a trained captioner, by draft.

Captions test images with the inner decoder and with each speculative one, and prints a table:

    python benchmarks/speculative.py --run RUN --dataset scenes speculative:captions=scenes

All decoders have the same number of images at once, so speculative ones have more rows. CPU seconds
cover decoding and prefixes, not loading the draft. On a busy machine, compare their ratio only.
"""

from __future__ import annotations

import argparse
import time

import attrs
import torch
from prefixcap_decoders.speculative.config import Speculative
from prefixcap_decoders.speculative.decoder import SpeculationStats, SpeculativeDecoder

from prefixcap import DatasetConfig, DecoderConfig, Hypothesis
from prefixcap.captioning.captioner import Captioner
from prefixcap.decoding.decode import collect
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.plugin.registry import default_registry
from prefixcap.plugin.specs import to_spec

Captions = list[list[Hypothesis]]


@attrs.frozen
class Result:
    """One decoder's captions and their cost."""

    captions: Captions
    seconds: float
    stats: SpeculationStats | None


def run(config: DecoderConfig, task: DecodingTask) -> Result:
    """Decode a task and measure it."""
    decoder = config.build()
    # the first image loads the draft
    assert task.features is not None
    first = attrs.evolve(
        task,
        image_ids=task.image_ids[:1],
        prefix=task.prefix[:1],
        features=task.features[:1],
    )
    with torch.inference_mode():
        list(decoder.decode(first))
    if isinstance(decoder, SpeculativeDecoder):
        decoder.stats = SpeculationStats()
    start = time.process_time()
    with torch.inference_mode():
        captions = collect(decoder.decode(task), len(task.prefix))
    seconds = time.process_time() - start
    stats = decoder.stats if isinstance(decoder, SpeculativeDecoder) else None
    return Result(captions, seconds, stats)


def row(spec: str, batch: int, result: Result, plain: Result) -> str:
    """Format a decoder's row of the table."""
    pairs = zip(result.captions, plain.captions, strict=True)
    same = sum(one[0].ids == two[0].ids for one, two in pairs) / len(plain.captions)
    accepted, steps = "", 1.0
    if result.stats is not None:
        accepted = f"{result.stats.accepted / max(1, result.stats.drafted):.0%}"
        # a caption's first token comes with its prefix
        after = result.stats.tokens - sum(map(len, result.captions))
        steps = after / max(1, result.stats.rounds)
    seconds = result.seconds / len(result.captions)
    return (
        f"| `{spec}` | {batch} | {accepted} | {steps:.2f} | {same:.0%} | {seconds:.3f} | "
        f"{plain.seconds / result.seconds:.2f} |"
    )


def main() -> None:
    """Run all decoders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoders", nargs="+", help="specs of speculative decoders")
    parser.add_argument("--run", required=True, help="a trained captioner's folder")
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--dtype", help="of the language model; that of training by default")
    parser.add_argument("--max-new-tokens", type=int, default=40)
    options = parser.parse_args()
    captioner, registry = Captioner.load(options.run, "cpu", options.dtype), default_registry()
    dataset = registry.parse(DatasetConfig, options.dataset).build()
    examples = dataset.examples("test")[: options.images]
    features = captioner.encode([example.image for example in examples])
    task = DecodingTask(
        lm=captioner.lm,
        prefix=captioner.prefixes(features),
        image_ids=[example.image.id for example in examples],
        max_new_tokens=options.max_new_tokens,
        stop_ids=frozenset(captioner.stop_ids),
        features=features,
    )
    configs = [registry.parse(DecoderConfig, spec) for spec in options.decoders]
    for config in configs:
        if not isinstance(config, Speculative):
            parser.error(f"{to_spec(config)} is not speculative")
    print("| decoder | batch | accepted | tokens per run | same captions | CPU s | speed |")
    print("|---|---|---|---|---|---|---|")
    for batch in options.batch:
        plain: dict[str, Result] = {}
        for config in configs:
            assert isinstance(config, Speculative)
            inner = to_spec(config.inner())
            if inner not in plain:
                plain[inner] = run(config.inner(), attrs.evolve(task, max_rows=batch))
                print(row(inner, batch, plain[inner], plain[inner]), flush=True)
            rows = batch * (config.tokens + 1)
            result = run(config, attrs.evolve(task, max_rows=rows))
            print(row(to_spec(config), batch, result, plain[inner]), flush=True)


if __name__ == "__main__":
    main()
