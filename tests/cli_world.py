from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "black": (9, 9, 9)}
THINGS = ("ball", "house", "boat")
SPLITS = (("train", 30), ("val", 6), ("test", 8))


@attrs.frozen
class World:
    """A small real data set with features and images, and a small language model's folder."""

    data: Path
    lm: Path

    @property
    def options(self) -> list[str]:
        return [
            *("--dataset", f"jsonl:path={self.data}"),
            *("--lm", f"hf:model={self.lm},init=random"),
            *("--tuning", "full", "--epochs", "1", "--prefix-len", "2", "--mapper", "linear"),
        ]

    @property
    def bench(self) -> list[str]:
        metrics = ["--metrics", "length,distinct", "--max-new-tokens", "8"]
        return ["bench", *self.options, "--decoder", "greedy", *metrics]


def make_world(folder: Path) -> World:
    data, lm = folder / "data", folder / "lm"
    (data / "images").mkdir(parents=True)
    lines, features = [], []
    stream = np.random.default_rng(0)
    kinds = [(colour, thing) for colour in COLOURS for thing in THINGS]
    for split, count in SPLITS:
        for number in range(count):
            colour, thing = kinds[number % len(kinds)]
            name = f"{split}-{number}.png"
            draw(data / "images" / name, COLOURS[colour])
            captions = [f"A {colour} {thing}.", f"There is a {thing}, and it is {colour}."]
            lines.append(json.dumps({"image": name, "split": split, "captions": captions}))
            hot = np.zeros(len(COLOURS) + len(THINGS))
            hot[[list(COLOURS).index(colour), len(COLOURS) + THINGS.index(thing)]] = 1
            features.append(hot + 0.1 * stream.standard_normal(len(hot)))
    (data / "captions.jsonl").write_text("\n".join(lines) + "\n")
    np.save(data / "features.npy", np.array(features, np.float32))
    write_lm(lm, [json.loads(line)["captions"][0] for line in lines])
    return World(data, lm)


def draw(path: Path, colour: tuple[int, int, int]) -> None:
    from PIL import Image

    Image.new("RGB", (40, 40), colour).save(path)


def write_lm(folder: Path, texts: list[str]) -> None:
    """Write a language model's folder without weights: a config and a tokenizer."""

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    end = "<|endoftext|>"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, bos_token=end)
    fast.save_pretrained(folder)
    GPT2Config(
        vocab_size=len(fast),
        n_positions=64,
        n_embd=16,
        n_layer=1,
        n_head=2,
        eos_token_id=fast.eos_token_id,
        bos_token_id=fast.eos_token_id,
    ).save_pretrained(folder)


def outcome(folder: Path) -> dict[str, object]:
    """Return everything that a study computed, without measured times and hashes that cover them.

    Log-probabilities are rounded: the last bits of a sum depend on how many rows stand in a batch,
    and a study that goes on has fewer left.
    """

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            clocked = ("captions_per_second", "training_seconds", "seconds")
            clocked += ("training_memory", "memory")
            clocked += ("sha256", "captions_sha256", "digests")
            rounded = {key: round(value[key], 2) for key in ("logprob", "score") if key in value}
            kept = {key: timeless(v) for key, v in value.items() if key not in clocked}
            return kept | rounded if "logprob" in value else kept
        return [timeless(v) for v in value] if isinstance(value, list) else value

    result: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if (
            path.is_dir()
            or ".locks" in name
            or name.endswith((".tmp", "table.md", "timings.jsonl"))
        ):
            continue
        if path.suffix == ".json":
            result[name] = timeless(json.loads(path.read_text()))
        elif path.name == "captions.jsonl":
            result[name] = [timeless(json.loads(row)) for row in path.read_text().splitlines()]
        else:
            result[name] = path.read_bytes()
    return result


def run_and_tell(study: object, folder: Path, answers: Any) -> None:
    """Run a study in a separate process, and print the work that it did."""
    import torch

    from prefixcap.study.execution.runner import run_study

    torch.set_num_threads(1)
    answers.put(run_study(study, folder).work)  # type: ignore[arg-type]
