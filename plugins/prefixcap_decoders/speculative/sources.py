"""Where drafts come from: a language model, counted captions, or the caption itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.training.batches import sentence
from prefixcap_decoders.contrast.compatibility import check_shared_vocabulary, placed
from prefixcap_decoders.lockstep import LockstepSession
from prefixcap_decoders.speculative.draft import DraftState
from prefixcap_decoders.speculative.drafters import Drafter, ModelDrafter

if TYPE_CHECKING:
    from prefixcap_decoders.speculative.acceptance import AcceptanceRule
    from prefixcap_decoders.speculative.config import Speculative

# how many tokens back counted captions, and lookups in a caption, go at most
ORDER = 4


class CountDrafter(Drafter):
    """Proposes what most often followed the last tokens in given captions.

    Args:
        texts: the captions' tokens, stop tokens included.
    """

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for text in texts:
            for end, token in enumerate(text):
                for start in range(max(0, end - ORDER), end):
                    counts[tuple(text[start:end])][token] += 1
        self._next = {context: found.most_common(1)[0][0] for context, found in counts.items()}

    @property
    def gates(self) -> Sequence[LockstepSession]:
        """None."""
        return ()

    def begin(self, lines: Sequence[DraftState], images: int) -> None:
        """Needs nothing."""

    def propose(self, lines: Sequence[DraftState], room: Sequence[int]) -> Tensor | None:
        """Sets each caption's `drafted`; see the base class."""
        for line, most in zip(lines, room, strict=True):
            text = list(line.tokens)
            while len(text) < len(line.tokens) + most and (token := self._after(text)) is not None:
                text.append(token)
            line.drafted = text[len(line.tokens) :]
        return None

    def settle(self, line: DraftState, kept: int) -> None:
        """Needs nothing."""

    def _after(self, text: Sequence[int]) -> int | None:
        contexts = (tuple(text[-size:]) for size in range(min(ORDER, len(text)), 0, -1))
        return next((self._next[c] for c in contexts if c in self._next), None)


class LookupDrafter(CountDrafter):
    """Proposes what followed the last tokens where they stood in the caption before."""

    def __init__(self) -> None:
        super().__init__([])

    def propose(self, lines: Sequence[DraftState], room: Sequence[int]) -> Tensor | None:
        """Sets each caption's `drafted`; see the base class."""
        for line, most in zip(lines, room, strict=True):
            line.drafted = _looked_up(line.tokens)[:most]
        return None


def _looked_up(text: Sequence[int]) -> list[int]:
    for size in range(min(ORDER, len(text) - 1), 0, -1):
        for start in range(len(text) - size - 1, -1, -1):
            if text[start : start + size] == text[-size:]:
                return list(text[start + size :])
    return []


Source = LanguageModel | Captioner | CountDrafter


def load(config: Speculative, task: DecodingTask) -> Source:
    """Loads what a config drafts by, or counts it, on the language model's device."""
    if (counted := config.counted()) is not None:
        return CountDrafter(_training_captions(counted.build(), task))
    device, dtype = placed(task)
    if config.run:
        return Captioner.load(config.run, device, dtype)
    named = config.draft_model()
    return LookupDrafter() if named is None else named.build(device, dtype)


def opened(source: Source, task: DecodingTask, rule: AcceptanceRule, rows: int) -> Drafter:
    """Begins to draft the captions of a task.

    Args:
        source: what `load` gave.
        task: what is decoded.
        rule: how tokens are chosen.
        rows: the most rows an image.

    Raises:
        PrefixcapError: the draft's tokens are not those of the language model, it has too few
            positions, or it needs features that there are none of.
    """
    if isinstance(source, CountDrafter):
        return source
    if isinstance(source, Captioner):
        lm, prefix = source.lm, _mapped(source, task)
    else:
        lm, prefix = source, _blind(source, task)
    check_shared_vocabulary(lm, task, prefix.shape[1], "speculative: the draft")
    session = attrs.evolve(task, lm=lm, prefix=prefix).start(rows)
    return ModelDrafter(LockstepSession(session), rule, task.stop_ids)


def _training_captions(dataset: Dataset, task: DecodingTask) -> list[list[int]]:
    """Tokenizes a data set's training captions as training does, each with its stop token."""
    tokenizer = task.lm.tokenizer
    if tokenizer is None:
        raise PrefixcapError("speculative: captions can be counted with a tokenizer only")
    texts = [text for example in dataset.examples("train") for text in example.references]
    found = []
    for text in filter(None, map(sentence, texts)):
        ids = tokenizer.encode(text)
        stop = next((n for n, token in enumerate(ids) if token in task.stop_ids), None)
        found.append([*ids, *sorted(task.stop_ids)[:1]] if stop is None else ids[: stop + 1])
    return found


def _mapped(captioner: Captioner, task: DecodingTask) -> Tensor:
    if task.features is None:
        raise PrefixcapError(
            "speculative: the draft's mapper needs the images' features, and this call has none: "
            "give features, or a draft that sees no image"
        )
    return captioner.prefixes(task.features)


def _blind(lm: LanguageModel, task: DecodingTask) -> Tensor:
    if lm.eos_id is None:
        raise PrefixcapError(
            "speculative: the draft has no end-of-text token to begin from; give a run, whose "
            "mapper writes its prefix"
        )
    start = lm.embed(torch.tensor([[lm.eos_id]], device=task.prefix.device))
    return start.expand(len(task.prefix), -1, -1)
