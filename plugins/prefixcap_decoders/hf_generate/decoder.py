"""transformers' own `generate`, as a baseline."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import attrs
import torch

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.contrast.wrapped_lm import own_logprobs
from prefixcap_decoders.hf_generate.config import HFGenerate

# what is given to `generate` by the decoder itself, and what belongs to Python
OWN = {
    "attention_mask",
    "inputs",
    "inputs_embeds",
    "kwargs",
    "num_return_sequences",
    "output_scores",
    "return_dict_in_generate",
    "self",
}
WORDS = {"true": True, "false": False, "none": None}


class HFDecoder(Decoder):
    """Runs `generate` batch by batch, without touching the global random state."""

    def __init__(self, config: HFGenerate) -> None:
        self.config = config
        self.options = options_of(config)

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's captions, batch by batch; `score` is transformers' own."""
        if not callable(getattr(task.lm.module, "generate", None)):
            raise PrefixcapError(
                f"hf-generate needs a model of transformers, not {type(task.lm.module).__name__}"
            )
        batch = 1 if self.options.get("do_sample") else self.config.batch
        for first in range(0, len(task.prefix), batch):
            images = range(first, min(first + batch, len(task.prefix)))
            with _seeded(task, first) if self.options.get("do_sample") else nullcontext():
                found = self._run(task, images)
            yield from found

    def _run(self, task: DecodingTask, images: Sequence[int]) -> list[tuple[int, list[Hypothesis]]]:
        module: Any = task.lm.module
        n, stops = task.n or self.config.n, sorted(task.stop_ids)
        # greedy search has one caption to give; transformers refuses to give it twice
        alone = not self.options.get("do_sample") and self.options.get("num_beams", 1) == 1
        prefix = task.lm.prepend_tokens(task.prefix[list(images)]).to(
            next(module.parameters()).dtype
        )
        settings = {
            "do_sample": False,
            "max_new_tokens": task.max_new_tokens,
            "num_return_sequences": 1 if alone else n,
            # without a stop token there must be none, not the one of the model's own config, so a
            # token is named that does not exist
            "eos_token_id": stops or [task.lm.vocab_size],
            "pad_token_id": stops[0] if stops else 0,
            **self.options,
        }
        try:
            out = module.generate(
                inputs_embeds=prefix,
                attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long, device=prefix.device),
                return_dict_in_generate=True,
                output_scores=True,
                **settings,
            )
        except (ValueError, TypeError) as error:
            raise PrefixcapError(f"transformers' generate: {error}") from error
        texts = [_cut(ids, task.stop_ids) for ids in out.sequences.tolist()]
        texts = [text for text in texts for _ in range(n if alone else 1)]
        owners = [image for image in images for _ in range(n)]
        plain = [task.hypothesis(text, 0.0) for text in texts]
        logprobs = own_logprobs(task, list(zip(owners, plain, strict=True)))
        scores = getattr(out, "sequences_scores", None)
        ranks = logprobs if scores is None else scores.tolist()
        found: dict[int, list[Hypothesis]] = {image: [] for image in images}
        for image, h, logprob, score in zip(owners, plain, logprobs, ranks, strict=True):
            found[image].append(attrs.evolve(h, logprob=logprob, score=score))
        return [(image, sorted(hs, key=lambda h: -h.score)) for image, hs in found.items()]


def options_of(config: HFGenerate) -> dict[str, Any]:
    """Reads the options of a config.

    Raises:
        PrefixcapError: `generate` has no such option, it is the decoder's own to give, or
            transformers refuses a value.
    """
    found = dict(map(_option, config.options))
    if "num_return_sequences" in found:
        raise PrefixcapError(
            "hf-generate: say n=... for several captions an image, not num_return_sequences"
        )
    from transformers import generation as module

    generation: Any = module
    settings = generation.GenerationConfig()
    fields = {name for name in vars(settings) if not name.startswith("_")}
    known = fields.union(inspect.signature(generation.GenerationMixin.generate).parameters) - OWN
    for name, value in found.items():
        if name not in known:
            raise PrefixcapError(
                f"hf-generate: transformers' generate has no option {name!r} to give"
                f"{nearest(name, known)}"
            )
        if name in fields:
            setattr(settings, name, value)
    try:
        settings.validate()
    except (ValueError, TypeError, AttributeError) as error:
        raise PrefixcapError(f"hf-generate: transformers' generate: {error}") from error
    return found


def _cut(ids: list[int], stops: frozenset[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in stops:
            return ids[: place + 1]
    return ids


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise PrefixcapError(f"hf-generate: the option {text!r} is not of the form key=value")
    if value.lower() in WORDS:
        return key, WORDS[value.lower()]
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


@contextmanager
def _seeded(task: DecodingTask, image: int) -> Iterator[None]:
    """Seeds torch by an image's own stream for a while, where the task is, and nowhere else."""
    device, seed = task.prefix.device, int(task.generator(image).integers(2**63))
    cards = []
    if device.type == "cuda":
        cards = [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices=cards):
        # `torch.manual_seed` would seed every GPU
        for generator in (
            torch.default_generator,
            *(torch.cuda.default_generators[c] for c in cards),
        ):
            generator.manual_seed(seed)
        yield
