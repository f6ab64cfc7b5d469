"""transformers' own `generate`, as a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import attrs
import torch
from typing_extensions import override

from prefixcap.engine.causal_lm import CausalLM
from prefixcap.engine.prefixes.caches import call_arguments
from prefixcap.errors import NonFiniteError, PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.hf_generate.config import HFGenerate
from prefixcap_decoders.hf_generate.generate import generate
from prefixcap_decoders.hf_generate.options import check_tokens, options_of
from prefixcap_decoders.rescoring import own_logprobs


class HFDecoder(Decoder):
    """Runs `generate` batch by batch, without changing the global random state."""

    def __init__(self, config: HFGenerate) -> None:
        self.config = config
        self.options = options_of(config)

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        if not callable(getattr(task.lm.module, "generate", None)):
            raise PrefixcapError(
                f"hf-generate needs a model of transformers, not {type(task.lm.module).__name__}"
            )
        check_tokens(self.options, task.lm.vocab_size)
        sampling = self.options.get("do_sample")
        batch = 1 if sampling else self.config.batch
        for first in range(0, len(task.prefix), batch):
            images = range(first, min(first + batch, len(task.prefix)))
            with _seeded(task, first) if sampling else nullcontext():
                captions = self._generate(task, images)
            yield from captions

    def _generate(
        self, task: DecodingTask, images: Sequence[int]
    ) -> list[tuple[int, list[Hypothesis]]]:
        module: Any = task.lm.module
        n, stops = task.n or self.config.n, sorted(task.stop_ids)
        # transformers refuses to return several sequences of greedy search, so copy the one
        greedy = not self.options.get("do_sample") and self.options.get("num_beams", 1) == 1
        prefix = task.prefix[list(images)]
        inputs, others = task.lm.prepend_tokens(prefix), {}
        if isinstance(task.lm, CausalLM):
            given = task.lm.open_prefix(prefix)
            others = call_arguments(module, given, keep=True)
        settings = {
            "max_new_tokens": task.max_new_tokens,
            "num_return_sequences": 1 if greedy else n,
            # without stop tokens, an id outside the vocabulary overrides the model's own default
            "eos_token_id": stops or [task.lm.vocab_size],
            "pad_token_id": stops[0] if stops else 0,
            **self.options,
        }
        check = _FiniteScores({image: task.image_ids[image] for image in images})
        try:
            out = generate(module, inputs.to(module.dtype), settings, [check], others=others)
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise PrefixcapError(f"transformers' generate: {reason}") from error
        texts = [_until_stop(ids, task.stop_ids) for ids in out.sequences.tolist()]
        texts = [text for text in texts for _ in range(n if greedy else 1)]
        # generate returns the sequences of an image side by side
        owners = [image for image in images for _ in range(n)]
        plain = [task.hypothesis(text, 0.0) for text in texts]
        logprobs = own_logprobs(task, list(zip(owners, plain, strict=True)))
        scores = getattr(out, "sequences_scores", None)
        ranks = logprobs if scores is None else scores.tolist()
        captions: dict[int, list[Hypothesis]] = {image: [] for image in images}
        for image, h, logprob, score in zip(owners, plain, logprobs, ranks, strict=True):
            captions[image].append(attrs.evolve(h, logprob=logprob, score=score))
        return [(image, sorted(hs, key=lambda h: -h.score)) for image, hs in captions.items()]


class _FiniteScores:
    """A logits processor that changes nothing; it refuses scores that are NaN or infinite.

    Args:
        images: The ids of the images of a call by their number; `generate` holds the rows of an
            image side by side.
    """

    def __init__(self, images: Mapping[int, str]) -> None:
        self.images = images

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        finite = scores.amax(-1).isfinite()
        if not bool(finite.all()):
            numbers, share = list(self.images), max(1, len(scores) // len(self.images))
            rows = (~finite).nonzero().flatten().tolist()
            broken = sorted({numbers[row // share] for row in rows})
            names = {image: self.images[image] for image in broken}
            raise NonFiniteError(names, "the language model's logits")
        return scores


def _until_stop(ids: list[int], stops: frozenset[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in stops:
            return ids[: place + 1]
    return ids


@contextmanager
def _seeded(task: DecodingTask, image: int) -> Iterator[None]:
    """Seed torch from an image's own stream, on the task's device only, and restore it after."""
    device, seed = task.prefix.device, int(task.generator(image).integers(2**63))
    cards = []
    if device.type == "cuda":
        cards = [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices=cards):
        # `torch.manual_seed` would seed every GPU
        torch.default_generator.manual_seed(seed)
        for card in cards:
            torch.cuda.default_generators[card].manual_seed(seed)
        yield
