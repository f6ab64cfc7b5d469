"""ZeroCap: beam search whose context is changed by gradients of CLIP's loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.engine.causal_lm import CausalLM
from prefixcap.errors import NonFiniteError, PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.guided.config import ZeroCap
from prefixcap_decoders.guided.context import Context
from prefixcap_decoders.image_texts import ImageTexts, require_text, with_prompt
from prefixcap_decoders.logits.processors import Transforms, build_processors
from prefixcap_decoders.rescoring import own_logprobs

# the factor by which stop tokens are lowered at the first token, in the authors' code
START_FACTOR = 1.6


@attrs.frozen
class GuidedText:
    """A hypothesis, with the sum of its tokens' log-probabilities."""

    tokens: tuple[int, ...] = ()
    total: float = 0.0

    @property
    def mean(self) -> float:
        """The mean log-probability of its tokens."""
        return self.total / max(1, len(self.tokens))


class ZeroCapSearch(Decoder):
    """Captions one image after the other; its beams are the rows of the model."""

    def __init__(self, config: ZeroCap) -> None:
        self.config = config

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        config, count = self.config, task.n or self.config.n
        if count > config.num_beams:
            raise PrefixcapError(
                f"zerocap: {count} captions per image were requested, but num_beams is "
                f"{config.num_beams}: raise num_beams or lower n"
            )
        if not isinstance(task.lm, CausalLM):
            raise PrefixcapError(
                f"zerocap needs a model of transformers, not {type(task.lm).__name__}"
            )
        require_text(task, "zerocap")
        judge = ImageTexts.of(task, config.text, "zerocap")
        transforms = Transforms(build_processors(config, task))
        for image in range(len(task.prefix)):
            # tensors of the inference mode could not be part of a gradient
            with torch.inference_mode(False), torch.no_grad():
                guide = Guide(config, task, task.lm, judge, image)
                beams = self._search(task, guide, transforms)
            yield image, self._ranked(task, judge, image, beams)[:count]

    def _search(self, task: DecodingTask, guide: Guide, transforms: Transforms) -> list[GuidedText]:
        """Return the hypotheses of an image, all of which have ended."""
        beams, ended = [GuidedText()], list[GuidedText]()
        for step in range(task.max_new_tokens):
            logprobs = guide.logprobs([beam.tokens for beam in beams], step, transforms)
            totals = logprobs.double() + torch.tensor([[b.total] for b in beams]).to(logprobs)
            best = totals.flatten().topk(min(self.config.num_beams, totals.numel()))
            longer = [
                GuidedText(
                    (*beams[place // totals.shape[1]].tokens, place % totals.shape[1]), total
                )
                for total, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
                if total > -torch.inf
            ]
            kept = sorted([*ended, *longer], key=lambda beam: -beam.mean)[: self.config.num_beams]
            ended = [beam for beam in kept if beam.tokens[-1] in task.stop_ids]
            beams = [beam for beam in kept if beam.tokens[-1] not in task.stop_ids]
            if not beams:
                break
        return [*ended, *beams]

    def _ranked(
        self, task: DecodingTask, judge: ImageTexts, image: int, beams: Sequence[GuidedText]
    ) -> list[Hypothesis]:
        """Return captions by their similarity to the image, which is their score."""
        captions = [task.hypothesis(beam.tokens, 0.0) for beam in beams]
        scores = judge.cosines([image] * len(captions), [h.text for h in captions]).tolist()
        logprobs = own_logprobs(task, [(image, h) for h in captions])
        scored = [
            attrs.evolve(h, score=score, logprob=logprob)
            for h, score, logprob in zip(captions, scores, logprobs, strict=True)
        ]
        return sorted(scored, key=lambda h: -h.score)


class Guide:
    """An image's next-token distributions.

    Args:
        config: Settings.
        task: Task.
        lm: Its language model.
        judge: Compares captions with the image.
        image: The image's number.
    """

    def __init__(
        self, config: ZeroCap, task: DecodingTask, lm: CausalLM, judge: ImageTexts, image: int
    ) -> None:
        self.config, self.task, self.judge, self.image = config, task, judge, image
        self.lm = lm
        self.prefix = task.prefix[image : image + 1].clone()  # (1, P, E)
        # the candidates of one gradient step are nearly those of the next
        self.vectors: dict[str, Tensor] = {}

    def logprobs(
        self, texts: Sequence[tuple[int, ...]], step: int, transforms: Transforms
    ) -> Tensor:
        """Return the log-probabilities (R,V) of the tokens that follow R texts of `step` tokens."""
        config, lm = self.config, self.lm
        ids = torch.tensor(texts, dtype=torch.long, device=lm.device).view(len(texts), step)
        given = lm.open_prefix(self.prefix.expand(len(texts), -1, -1))
        context = Context.read(lm.module, given, lm.embed(ids))
        before = self._finite(context.logits()).log_softmax(-1)
        loss = partial(self._loss, texts, before)
        logits = context.descend(
            loss, config.iterations, size=config.step_size, norm_power=config.norm_power
        )
        logits = transforms.of_texts(self._ending(self._finite(logits), step), texts)
        changed = logits.log_softmax(-1)
        mixed = config.fusion * changed + (1 - config.fusion) * before
        never = changed.isneginf() | before.isneginf()
        return mixed.masked_fill(never, -torch.inf).log_softmax(-1)

    def _loss(self, texts: Sequence[tuple[int, ...]], before: Tensor, logits: Tensor) -> Tensor:
        """Return the sum () of CLIP's loss and of the divergence from log-probabilities (R,V)."""
        logprobs = self._finite(logits).log_softmax(-1)
        possible = ~logprobs.isneginf() & ~before.isneginf()
        difference = torch.where(possible, logprobs - before, 0.0)
        divergence = (logprobs.exp() * difference).sum()
        top = logprobs.detach().topk(min(self.config.candidates, logprobs.shape[1]))
        similarities = self._similarities(texts, top.indices.tolist()).to(logprobs.device)
        never = top.values.isneginf()
        target = (similarities / self.config.temperature).masked_fill(never, -torch.inf).softmax(-1)
        chosen = logprobs.gather(1, top.indices).masked_fill(never, 0.0)
        return self.config.kl_weight * divergence - (target * chosen).sum()

    @torch.no_grad()
    def _similarities(
        self, texts: Sequence[tuple[int, ...]], tokens: Sequence[Sequence[int]]
    ) -> Tensor:
        """Return the cosines (R,C) of the image and of texts with each of their tokens (R,C)."""
        captions = [
            with_prompt(self.config.prompt, self.task.hypothesis((*text, token), 0.0).text)
            for text, candidates in zip(texts, tokens, strict=True)
            for token in candidates
        ]
        new = [caption for caption in dict.fromkeys(captions) if caption not in self.vectors]
        self.vectors |= zip(new, self.judge.encoder.encode(new), strict=True)
        vectors = torch.stack([self.vectors[caption] for caption in captions])
        return self.judge.compare([self.image] * len(captions), vectors).view(len(texts), -1)

    def _ending(self, logits: Tensor, step: int) -> Tensor:
        """Return logits (R,V) with those of stop tokens raised, or lowered for the first token."""
        stops = torch.tensor(sorted(self.task.stop_ids), dtype=torch.long, device=logits.device)
        factor = self.config.end_factor if step else 1 / START_FACTOR
        own = logits[:, stops]
        return logits.index_copy(1, stops, torch.where(own > 0, own * factor, own / factor))

    def _finite(self, logits: Tensor) -> Tensor:
        """Return logits (R,V) that have a finite maximum in each row.

        Raises:
            NonFiniteError: If they do not.
        """
        if not bool(logits.amax(-1).isfinite().all()):
            names = {self.image: self.task.image_ids[self.image]}
            raise NonFiniteError(names, "the language model's logits")
        return logits
