"""Speculative decoding over all live images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.engine.reductions import logsumexp
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.lockstep import LockstepSession, admit_in_lockstep
from prefixcap_decoders.logits.processors import Transforms, build_processors
from prefixcap_decoders.sampling.config import Sample
from prefixcap_decoders.speculative.acceptance import (
    FOLLOW,
    AcceptanceRule,
    GreedyRule,
    SamplingRule,
)
from prefixcap_decoders.speculative.config import Speculative
from prefixcap_decoders.speculative.draft import DraftState
from prefixcap_decoders.speculative.drafters import Drafter
from prefixcap_decoders.speculative.sources import Source, load, open_drafter


@attrs.define
class SpeculationStats:
    """Counts over all captions that a decoder has decoded."""

    runs: int = 0  # runs of the language model, excluding prefixes
    rounds: int = 0  # rounds of drafting and verification, summed over captions
    drafted: int = 0  # proposed tokens
    accepted: int = 0  # accepted tokens among these
    tokens: int = 0  # tokens of the captions, including stop tokens


class SpeculativeDecoder(Decoder):
    """Proposes tokens with a draft and keeps those that the acceptance rule verifies.

    Args:
        config: Settings.
        draft: Source of drafts; by default what the config names, loaded at the first use.
    """

    def __init__(self, config: Speculative, draft: Source | None = None) -> None:
        self.config = config
        self.draft = draft
        self.inner = config.inner()
        self.stats = SpeculationStats()

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        transforms = Transforms(build_processors(self.inner, task))
        if isinstance(self.inner, Sample):
            rule: AcceptanceRule = SamplingRule(transforms, self.inner)
            samples = task.n or self.inner.n
        else:
            rule, samples = GreedyRule(transforms), task.n or 1
        # a caption takes one row per token of a round
        rows = samples * min(self.config.tokens + 1, task.max_new_tokens)
        target = LockstepSession(task.start(rows))
        if self.draft is None:
            self.draft = load(self.config, task)
        drafter = open_drafter(self.draft, task, rule, rows)
        search = SpeculativeSearch(task, target, drafter, rule, self.stats)
        sessions = [target, *drafter.sessions]
        captions: list[DraftState] = []
        ended: dict[int, list[Hypothesis]] = {}
        while (new := admit_in_lockstep(sessions)) or captions:
            ended |= {image: [] for image in new}
            captions += search.start(new, samples)
            yield from _collect(task, captions, ended, samples)
            if captions := [caption for caption in captions if not caption.over(task)]:
                search.round(captions, self.config.tokens)
                yield from _collect(task, captions, ended, samples)
                captions = [caption for caption in captions if not caption.over(task)]
            if not captions and target.waiting:
                nothing = torch.zeros(0, dtype=torch.long, device=target.logits.device)
                for session in sessions:
                    session.advance(nothing, nothing)


@attrs.define(eq=False)
class SpeculativeSearch:
    """The rounds of drafting and verification of one task."""

    task: DecodingTask
    target: LockstepSession  # the language model's session
    drafter: Drafter
    rule: AcceptanceRule
    stats: SpeculationStats  # counts, which are updated

    def start(self, images: Sequence[int], samples: int) -> list[DraftState]:
        """Choose the first token of each caption of new images, whose rows are the last ones."""
        if not images:
            return []
        first, shape = len(self.target.images) - len(images), (samples, self.task.max_new_tokens, 3)
        captions = [
            DraftState(image, uniforms, row=first + number)
            for number, image in enumerate(images)
            for uniforms in self.task.generator(image).random(shape).tolist()
        ]
        logits = self.target.logits[[caption.row for caption in captions]]
        tokens, _ = self.rule.choose(logits, captions, FOLLOW)
        logprobs = logits.gather(1, tokens[:, None]).squeeze(1) - logsumexp(logits)
        for caption, token, logprob in zip(
            captions, tokens.tolist(), logprobs.tolist(), strict=True
        ):
            caption.tokens.append(token)
            caption.logprob += logprob
        self.stats.tokens += len(captions)
        self.drafter.start(captions, len(images))
        return captions

    def round(self, captions: Sequence[DraftState], count: int) -> None:
        """Propose up to `count` tokens for each caption, and append those that are accepted."""
        limit = self.task.max_new_tokens
        room = [min(count, limit - len(caption.tokens) - 1) for caption in captions]
        weights = self.drafter.propose(captions, room)
        # the last token has not been run: run it with the draft, for one more token than drafted
        texts = [[caption.tokens[-1], *caption.drafted] for caption in captions]
        logits = self._run(texts, [caption.row for caption in captions])
        starts = [0, *accumulate(map(len, texts))][:-1]
        accepted, following = self.rule.verify(logits, captions, weights)
        appended = [
            caption.drafted[:n] + ([] if caption.stops(n, self.task) else [token])
            for caption, n, token in zip(captions, accepted, following, strict=True)
        ]
        rows = [
            start + n for start, new in zip(starts, appended, strict=True) for n in range(len(new))
        ]
        row_logits = logits[rows]
        chosen = torch.tensor(
            [token for new in appended for token in new], device=row_logits.device
        )
        logprobs = (
            row_logits.gather(1, chosen[:, None]).squeeze(1) - logsumexp(row_logits)
        ).tolist()
        for caption, start, n, new in zip(captions, starts, accepted, appended, strict=True):
            self.drafter.accept(caption, n)
            caption.row = start + n
            caption.tokens += new
            caption.logprob += sum(logprobs[: len(new)])
            del logprobs[: len(new)]
        self.stats.runs += 1
        self.stats.rounds += len(captions)
        self.stats.drafted += sum(len(caption.drafted) for caption in captions)
        self.stats.accepted += sum(accepted)
        self.stats.tokens += sum(map(len, appended))

    def _run(self, texts: Sequence[Sequence[int]], rows: Sequence[int]) -> Tensor:
        """Run a text on each row, and return the logits after each token, text by text."""
        live, device = len(self.target.images), self.target.logits.device
        parents: list[int] = []
        for text, row in zip(texts, rows, strict=True):
            first = live + len(parents)
            parents += [row, *range(first, first + len(text) - 1)]
        tokens = torch.tensor([token for text in texts for token in text], device=device)
        return self.target.extend(tokens, torch.tensor(parents, device=device))


def _collect(
    task: DecodingTask,
    captions: Sequence[DraftState],
    ended: dict[int, list[Hypothesis]],
    samples: int,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Add captions that have ended to their images, and yield the images that are complete."""
    for caption in captions:
        if caption.over(task):
            hypotheses = ended[caption.image]
            hypotheses.append(task.hypothesis(caption.tokens, caption.logprob))
            if len(hypotheses) == samples:
                yield caption.image, sorted(ended.pop(caption.image), key=lambda h: -h.score)
