"""Speculative decoding over all live images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import attrs
import torch
from torch import Tensor

from prefixcap.engine.reductions import logsumexp
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.greedy.config import Greedy
from prefixcap_decoders.lockstep import LockstepSession, admit_in_lockstep
from prefixcap_decoders.logits.processors import Transforms, controls
from prefixcap_decoders.sampling.config import Sample
from prefixcap_decoders.speculative.acceptance import AcceptanceRule, GreedyRule, SamplingRule
from prefixcap_decoders.speculative.config import Speculative
from prefixcap_decoders.speculative.draft import DraftState
from prefixcap_decoders.speculative.drafters import Drafter
from prefixcap_decoders.speculative.sources import Source, load, opened


@attrs.define
class SpeculationStats:
    """What a decoder has done so far.

    Attributes:
        runs: how often the language model was run, prefixes aside.
        rounds: how many rounds the captions took, each caption's counted.
        drafted: how many tokens were proposed.
        accepted: how many of them were kept.
        tokens: how many tokens the captions have, stop tokens included.
    """

    runs: int = 0
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    tokens: int = 0


class SpeculativeDecoder(Decoder):
    """Proposes tokens by a draft and keeps those that the language model's rule accepts.

    Args:
        config: the settings.
        draft: what drafts, instead of what the config names, which is loaded when it is first
            needed.
    """

    def __init__(self, config: Speculative, draft: Source | None = None) -> None:
        self.config = config
        self.draft = draft
        self.inner = config.inner()
        self.tally = SpeculationStats()

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's captions, the likeliest first, once all of them have ended."""
        rule, samples = _rule(self.inner, task)
        # a caption takes as many rows as a round has tokens
        rows = samples * (self.config.tokens + 1)
        target = LockstepSession(task.start(rows))
        if self.draft is None:
            self.draft = load(self.config, task)
        drafter = opened(self.draft, task, rule, rows)
        lines: list[DraftState] = []
        ended: dict[int, list[Hypothesis]] = {}
        while (new := admit_in_lockstep([target, *drafter.gates])) or lines:
            ended |= {image: [] for image in new}
            fresh = self._begin(task, target, rule, new, samples)
            drafter.begin(fresh, len(new))
            lines += fresh
            yield from _ended(task, lines, ended, samples)
            if lines := [line for line in lines if not line.over(task)]:
                self._round(task, target, drafter, rule, lines)
                yield from _ended(task, lines, ended, samples)
                lines = [line for line in lines if not line.over(task)]
            if not lines and target.waiting:
                nothing = torch.zeros(0, dtype=torch.long, device=target.logits.device)
                for gate in (target, *drafter.gates):
                    gate.advance(nothing, nothing)

    def _begin(
        self,
        task: DecodingTask,
        target: LockstepSession,
        rule: AcceptanceRule,
        new: Sequence[int],
        samples: int,
    ) -> list[DraftState]:
        """Chooses the first token of new images, whose rows are the last ones."""
        if not new:
            return []
        first = len(target.images) - len(new)
        lines = [
            DraftState(image, numbers, place=first + number)
            for number, image in enumerate(new)
            for numbers in task.generator(image).random((samples, task.max_new_tokens, 3)).tolist()
        ]
        logits = target.logits[[line.place for line in lines]]
        tokens = rule.choose(logits, lines)
        logprobs = logits.gather(1, tokens[:, None]).squeeze(1) - logsumexp(logits)
        for line, token, logprob in zip(lines, tokens.tolist(), logprobs.tolist(), strict=True):
            line.tokens.append(token)
            line.logprob += logprob
        self.tally.tokens += len(lines)
        return lines

    def _round(
        self,
        task: DecodingTask,
        target: LockstepSession,
        drafter: Drafter,
        rule: AcceptanceRule,
        lines: Sequence[DraftState],
    ) -> None:
        """Proposes tokens for every caption, runs them, and keeps what is accepted."""
        room = [
            min(self.config.tokens, task.max_new_tokens - len(line.tokens) - 1) for line in lines
        ]
        weights = drafter.propose(lines, room)
        texts = [[line.tokens[-1], *line.drafted] for line in lines]
        logits = _run(target, texts, [line.place for line in lines])
        firsts = [0, *accumulate(map(len, texts))][:-1]
        accepted, following = rule.verify(logits, lines, weights)
        news = [
            line.drafted[:count] + ([] if line.stops(count, task) else [token])
            for line, count, token in zip(lines, accepted, following, strict=True)
        ]
        places = [
            first + n for first, new in zip(firsts, news, strict=True) for n in range(len(new))
        ]
        own = logits[places]
        chosen = torch.tensor([token for new in news for token in new], device=own.device)
        logprobs = (own.gather(1, chosen[:, None]).squeeze(1) - logsumexp(own)).tolist()
        for line, first, count, new in zip(lines, firsts, accepted, news, strict=True):
            drafter.settle(line, count)
            line.place = first + count
            line.tokens += new
            line.logprob += sum(logprobs[: len(new)])
            del logprobs[: len(new)]
        self.tally.runs += 1
        self.tally.rounds += len(lines)
        self.tally.drafted += sum(len(line.drafted) for line in lines)
        self.tally.accepted += sum(accepted)
        self.tally.tokens += sum(map(len, news))


def _rule(config: Greedy | Sample, task: DecodingTask) -> tuple[AcceptanceRule, int]:
    """Makes the rule of what the captions are to be, and tells how many an image there are."""
    transforms = Transforms(controls(config, task))
    if isinstance(config, Greedy):
        return GreedyRule(transforms), task.n or 1
    return SamplingRule(transforms, config), task.n or config.n


def _run(target: LockstepSession, texts: Sequence[Sequence[int]], places: Sequence[int]) -> Tensor:
    """Runs a text on each row; gives the logits after each token, one text after the other."""
    live, device = len(target.images), target.logits.device
    parents: list[int] = []
    for text, place in zip(texts, places, strict=True):
        made = live + len(parents)
        parents += [place, *range(made, made + len(text) - 1)]
    tokens = torch.tensor([token for text in texts for token in text], device=device)
    return target.extend(tokens, torch.tensor(parents, device=device))


def _ended(
    task: DecodingTask,
    lines: Sequence[DraftState],
    ended: dict[int, list[Hypothesis]],
    samples: int,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    for line in lines:
        if line.over(task):
            found = ended[line.image]
            found.append(task.hypothesis(line.tokens, line.logprob))
            if len(found) == samples:
                yield line.image, sorted(ended.pop(line.image), key=lambda h: -h.score)
