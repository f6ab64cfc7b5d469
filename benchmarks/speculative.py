"""What speculative decoding saves a trained captioner, by draft.

Captions test images with greedy search and with each given decoder, and prints a table in Markdown:

    python benchmarks/speculative.py --run RUN --dataset scenes speculative:captions=scenes

Every decoder has as many images at once; a speculative one then has more rows. CPU seconds are of
decoding, prefixes included, and loading or counting the draft is not: on a busy machine, read their
ratio.
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
    """One decoder's captions and what they took."""

    captions: Captions
    seconds: float
    stats: SpeculationStats | None


def run(config: DecoderConfig, task: DecodingTask) -> Result:
    """Decodes a task."""
    decoder = config.build()
    # a first image loads or counts the draft
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


def row(spec: str, batch: int, found: Result, plain: Result) -> str:
    """Writes a decoder's row of the table."""
    pairs = zip(found.captions, plain.captions, strict=True)
    same = sum(one[0].ids == two[0].ids for one, two in pairs) / len(plain.captions)
    accepted, steps = "", 1.0
    if found.stats is not None:
        accepted = f"{found.stats.accepted / max(1, found.stats.drafted):.0%}"
        # a caption's first token comes with its prefix
        after = found.stats.tokens - sum(map(len, found.captions))
        steps = after / max(1, found.stats.rounds)
    seconds = found.seconds / len(found.captions)
    return (
        f"| `{spec}` | {batch} | {accepted} | {steps:.2f} | {same:.0%} | {seconds:.3f} | "
        f"{plain.seconds / found.seconds:.2f} |"
    )


def main() -> None:
    """Runs all decoders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoders", nargs="+", help="specs of speculative decoders")
    parser.add_argument("--run", required=True, help="a trained captioner's folder")
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--dtype", help="of the language model; the training's unless given")
    parser.add_argument("--max-new-tokens", type=int, default=40)
    given = parser.parse_args()
    captioner, registry = Captioner.load(given.run, "cpu", given.dtype), default_registry()
    dataset = registry.parse(DatasetConfig, given.dataset).build()
    examples = dataset.examples("test")[: given.images]
    features = captioner.encode([example.image for example in examples])
    task = DecodingTask(
        lm=captioner.lm,
        prefix=captioner.prefixes(features),
        image_ids=[example.image.id for example in examples],
        max_new_tokens=given.max_new_tokens,
        stop_ids=frozenset(captioner.stop_ids),
        features=features,
    )
    configs = [registry.parse(DecoderConfig, spec) for spec in given.decoders]
    for config in configs:
        if not isinstance(config, Speculative):
            parser.error(f"{to_spec(config)} is not speculative")
    print("| decoder | batch | accepted | tokens a run | same captions | CPU s a caption | speed |")
    print("|---|---|---|---|---|---|---|")
    for batch in given.batch:
        usual: dict[str, Result] = {}
        for config in configs:
            assert isinstance(config, Speculative)
            inner = to_spec(config.inner())
            if inner not in usual:
                usual[inner] = run(config.inner(), attrs.evolve(task, max_rows=batch))
                print(row(inner, batch, usual[inner], usual[inner]), flush=True)
            rows = batch * (config.tokens + 1)
            found = run(config, attrs.evolve(task, max_rows=rows))
            print(row(to_spec(config), batch, found, usual[inner]), flush=True)


if __name__ == "__main__":
    main()
