"""Decoding compared with transformers' `generate`: same weights, same prefixes, one run.

    python benchmarks/decoding.py                 # everything; about an hour on two cores
    python benchmarks/decoding.py --quick         # the headline rows in a few minutes
    python benchmarks/decoding.py --methods beam --prefix 10 --dtypes bfloat16 --json beam.jsonl
    python benchmarks/decoding.py --join beam.jsonl others.jsonl    # merge partial measurements

The model has GPT-2 small's shape and random weights. With `--lengths early` the stop token's logit
grows with the position, for both sides, so that captions end after about 11 tokens, with a spread
like that of reference captions. Each row has the captions per second of both sides (the best of
`--repeats` alternating runs), their ratio at that batch size, the share of identical captions, the
share of the machine's rate of matrix products (GFLOP/s, measured next to the row), and the peak
memory above what was in use before. The last table compares the best batch sizes of both sides;
transformers is not run with more images once it is clearly slower than with fewer. On a busy
machine only the ratio of CPU seconds is meaningful.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from measuring import Ceiling, Run, processor, timed
from torch import Tensor

import prefixcap
from prefixcap.util.flops import counting
from prefixcap.util.runtime import dtype_named, tune_allocator

tune_allocator()

STEPS, STOP, NOISE = 15, 11, 0.2
COUNTED = 64
# A side below this fraction of its rate at a smaller batch is not run at larger ones.
CLEARLY_SLOWER = 0.9
HEADER = (
    "dtype    method prefix ends batch    ours  theirs   ratio     cpu    same   share GFLOP/s"
    "    ours  theirs MiB  tokens: min-mean-max (standard deviation)"
)
DECODERS = {"greedy": "greedy", "beam": "beam:num_beams=5", "sample": "top-p:top_p=0.9,n=5"}
ROWS = {"greedy": 1, "beam": 5, "sample": 5}
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "beam": {"do_sample": False, "num_beams": 5},
    "sample": {"do_sample": True, "num_return_sequences": 5, "top_p": 0.9, "top_k": 0},
}


def make_model(early: bool, shape: str, prefix_length: int = 10) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes: dict[str, dict[str, Any]] = {
        "tiny": {"n_layer": 2, "n_embd": 128, "n_head": 2, "vocab_size": 5000},
        "gpt2": {},
    }
    config = GPT2Config(**sizes[shape])
    # A separate head, so that the stop token's logit can be set. It is GPT-2's, scaled so that the
    # most likely tokens are as likely as a trained model's.
    config.tie_word_embeddings = False
    model: Any = GPT2LMHeadModel(config)
    model.eval()
    with torch.inference_mode(False), torch.no_grad():
        model.lm_head.weight.copy_(4 * model.transformer.wte.weight)
        if early:
            shift_towards_stop(model, prefix_length)
    return model


def shift_towards_stop(model: Any, prefix_length: int, at: int = 11, begin: int = 3) -> None:
    """Shift the positions' embeddings increasingly towards the stop token's row of the head.

    From token `begin` on, the stop token's logit grows until it is the largest after about `at`
    tokens; each text also has noise of its own.
    """
    width, vocabulary = model.config.n_embd, model.lm_head.weight
    direction = torch.randn(width) / width**0.5
    positions = model.transformer.wpe.weight
    steps = (torch.arange(len(positions)) - prefix_length - begin).clamp(min=0)
    positions += 0.5 * steps[:, None] * direction
    vocabulary[STOP] = 0
    inputs = make_prefixes(8, prefix_length, width)
    for _ in range(at):
        tokens = model(inputs_embeds=inputs).logits[:, -1].argmax(-1)
        inputs = torch.cat([inputs, model.transformer.wte(tokens)[:, None]], 1)
    output = model(inputs_embeds=inputs, output_hidden_states=True)
    pull = (output.hidden_states[-1][:, -1] @ direction).mean()
    top = output.logits[:, -1].max(-1).values.mean()
    vocabulary[STOP] = torch.randn(width) * NOISE + top / pull * direction


def make_prefixes(images: int, length: int, width: int) -> Tensor:
    return torch.randn(images, length, width, generator=torch.Generator().manual_seed(1)) * 0.1


def theirs(model: Any, prefix: Tensor, method: str, early: bool) -> list[list[tuple[int, ...]]]:
    stop = {"eos_token_id": STOP, "pad_token_id": STOP} if early else {"eos_token_id": None}
    ids = model.generate(
        inputs_embeds=prefix,
        attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long, device=prefix.device),
        max_new_tokens=limit(early),
        **{"pad_token_id": 0} | stop | OPTIONS[method],
    ).tolist()
    texts = [tuple(row[: row.index(STOP)] if early and STOP in row else row) for row in ids]
    each = len(texts) // len(prefix)
    return [texts[first : first + each] for first in range(0, len(texts), each)]


def in_batches(
    model: Any, prefix: Tensor, method: str, early: bool, batch: int
) -> list[list[tuple[int, ...]]]:
    return [t for part in torch.split(prefix, batch) for t in theirs(model, part, method, early)]


def ours(
    lm: Any, prefix: Tensor, method: str, early: bool, batch: int
) -> list[list[tuple[int, ...]]]:
    captions = prefixcap.decode(
        lm,
        prefix,
        DECODERS[method],
        max_new_tokens=limit(early),
        stop_ids=[STOP] if early else [],
        max_rows=batch * ROWS[method],
    )
    return [[hypothesis.ids for hypothesis in hypotheses] for hypotheses in captions]


def limit(early: bool) -> int:
    return 20 if early else STEPS


def gflop(model: Any, lm: Any, prefix: Tensor, method: str, early: bool, batch: int) -> float:
    """Return the operations of one caption in GFLOP, with its prefix run once.

    For captions of fixed length they are computed. For early ends, the matrix products (and
    attention, a hundredth of them) of some images are counted, since the number of rows varies.
    """
    if early:
        some = prefix[:COUNTED]
        with counting() as flops:
            ours(lm, some, method, early, batch)
        return 1e-9 * flops.count / len(some)
    length, steps = prefix.shape[1], STEPS
    width, layers = model.config.n_embd, model.config.n_layer
    trunk, head = 12 * width**2 * layers, width * model.config.vocab_size
    # The last layer computes only keys and values for the prefix, except for its last position.
    before = length * trunk - (length - 1) * 9 * width**2 + head
    return 2e-9 * float(before + (steps - 1) * ROWS[method] * (trunk + head))


def cell(model: Any, options: argparse.Namespace, slower: bool, **where: Any) -> dict[str, Any]:
    """Measure one row of the table, without transformers if it is clearly slower."""
    method, length, early, batch = (where[key] for key in ("method", "prefix", "early", "batch"))
    images = max(batch * (2 if early else 1), min(options.images, 4 * batch))
    prefix = make_prefixes(images, length, model.config.n_embd).to(model.device, model.dtype)
    lm = prefixcap.from_transformers(model)
    mine, other = Run(), Run()
    ours(lm, prefix[:1], method, early, 1)
    theirs(model, prefix[:1], method, early)
    reached = options.ceiling.measure()
    for _ in range(options.repeats):
        timed(mine, lambda: ours(lm, prefix, method, early, batch), model.device)
        reached = max(reached, options.ceiling.measure())
        if not slower:
            timed(other, lambda: in_batches(model, prefix, method, early, batch), model.device)
    work = gflop(model, lm, prefix, method, early, batch)
    same = sum(a[0] == b[0] for a, b in zip(mine.captions, other.captions, strict=False))
    lengths = [len(texts[0]) for texts in mine.captions]
    return where | {
        "images": images,
        "ours": images / mine.seconds,
        "theirs": None if slower else images / other.seconds,
        "ratio": None if slower else other.seconds / mine.seconds,
        "cpu_ratio": None if slower else other.cpu / mine.cpu,
        "same": None if method == "sample" or slower else same / images,
        "lengths": [min(lengths), statistics.mean(lengths), max(lengths)],
        "spread": statistics.pstdev(lengths),
        "gflop": work,
        "share": work * images / mine.seconds / reached,
        "ceiling": reached,
        "memory_ours": mine.memory / 2**20,
        "memory_theirs": None if slower else other.memory / 2**20,
        "captions": [texts[0] for texts in mine.captions],
    }


def line(row: dict[str, Any]) -> str:
    def shown(name: str, form: str) -> str:
        return format("" if row[name] is None else format(row[name], form), ">7")

    lengths = "{}-{:.1f}-{} ({:.1f})".format(*row["lengths"], row["spread"])
    return (
        f"{row['dtype']:8} {row['method']:6} P={row['prefix']:<3} "
        f"{'early' if row['early'] else 'fixed'} {row['batch']:4} {shown('ours', '.2f')} "
        f"{shown('theirs', '.2f')} {shown('ratio', '.2f')} {shown('cpu_ratio', '.2f')} "
        f"{shown('same', '.0%')} {shown('share', '.0%')} {shown('ceiling', '.0f')} "
        f"{shown('memory_ours', '.0f')} {shown('memory_theirs', '.0f')}      {lengths}"
    )


def summary(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Compare both sides at their best batch sizes, and bfloat16 with float32."""
    keys = sorted({(r["dtype"], r["method"], r["prefix"], r["early"]) for r in rows}, key=str)
    names = ("dtype", "method", "prefix", "early")
    best = {}
    for key in keys:
        group = [r for r in rows if tuple(r[name] for name in names) == key]
        best[key] = group
        mine = max(group, key=_rate("ours"))
        other = max((r for r in group if r["theirs"]), key=_rate("theirs"))
        yield (
            f"{key[0]:8} {key[1]:6} P={key[2]:<3} {'early' if key[3] else 'fixed'}  ours "
            f"{mine['ours']:7.2f} at {mine['batch']:<4} transformers {other['theirs']:7.2f} at "
            f"{other['batch']:<4} {mine['ours'] / other['theirs']:5.2f}x"
        )
    for key, group in best.items():
        slow = best.get(("float32", *key[1:]))
        if key[0] != "float32" and slow:
            mine = max(group, key=_rate("ours"))
            other = max((r for r in slow if r["theirs"]), key=_rate("theirs"))
            yield (
                f"{key[0]} {key[1]} P={key[2]} {'early' if key[3] else 'fixed'}: "
                f"{mine['ours'] / other['theirs']:.2f}x transformers in float32"
            )
    for (dtype, *rest), group in best.items():
        exact = best.get(("float32", *rest))
        if dtype == "float32" or exact is None or rest[0] == "sample":
            continue
        mine, other = (max(r, key=_rate("ours"))["captions"] for r in (group, exact))
        pairs = list(zip(mine, other, strict=False))
        changed = sum(a != b for a, b in pairs) / len(pairs)
        yield f"{dtype} {rest[0]} P={rest[1]}: {changed:.0%} of captions differ from float32's"


def _rate(side: str) -> Callable[[dict[str, Any]], float]:
    return lambda row: float(row[side])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(DECODERS), choices=list(DECODERS))
    parser.add_argument("--prefix", nargs="+", type=int, default=[10, 40])
    parser.add_argument("--lengths", nargs="+", default=["fixed", "early"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--images", type=int, default=64, help="fewer at small batches")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cuda for a GPU")
    parser.add_argument("--shape", default="gpt2", choices=["gpt2", "tiny"])
    parser.add_argument("--quick", action="store_true", help="beam, P=10, few images, once")
    parser.add_argument("--json", type=Path, help="append the rows to this file")
    parser.add_argument("--join", nargs="+", type=Path, help="print the tables of these files")
    options = parser.parse_args()
    if options.quick:
        options.methods, options.prefix, options.batches = ["beam"], [10], [1, 16]
        options.images, options.repeats = 32, 1
    return options


def main() -> None:
    options = parsed()
    if options.join:
        rows = [json.loads(text) for path in options.join for text in path.read_text().splitlines()]
        print(HEADER)
        print("\n".join(map(line, rows)))
    else:
        rows = list(measured(options))
    print("\nboth sides at their best batch sizes")
    print("\n".join(summary(rows)))


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure the table row by row."""
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(
        f"{processor(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}, ",
        end="",
    )
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    for dtype, lengths, prefix in product(options.dtypes, options.lengths, options.prefix):
        early = lengths == "early"
        model = make_model(early, options.shape, prefix).to(device, dtype_named(dtype))
        options.ceiling = Ceiling(model)
        print(f"\n{dtype}, {lengths}")
        print(HEADER)
        for method in options.methods:
            rates: list[float] = []
            for batch in options.batches:
                where = {"dtype": dtype, "method": method, "prefix": prefix}
                slower = bool(rates) and rates[-1] < CLEARLY_SLOWER * max(rates)
                row = cell(model, options, slower, **where, early=early, batch=batch)
                rates += [] if slower else [row["theirs"]]
                print(line(row), flush=True)
                if options.json:
                    with options.json.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                yield row


if __name__ == "__main__":
    main()
