"""From captions to token ids, and from these to padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError
from prefixcap.training.sentences import sentence

if TYPE_CHECKING:
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.training.config import TrainingConfig

# Captions are sorted by length within pools of this many batches.
_POOL = 20


@attrs.frozen
class CaptionEnd:
    """The stop token of captions, and whether it is a visible part of the text."""

    token: int
    visible: bool


@attrs.frozen
class TokenizedCaption:
    """The token ids of a caption, and the row of its image's feature."""

    row: int
    ids: tuple[int, ...]


def find_end(lm: LanguageModel, end: str) -> CaptionEnd:
    """Return the token that ends captions, for the training setting `end`.

    Raises:
        PrefixcapError: If the language model has no end-of-text token or no tokenizer, or the
            text is not one token.
    """
    if end == "eos":
        if lm.eos_id is None:
            raise PrefixcapError(
                "the language model has no end-of-text token: set the training's end to '.'"
            )
        return CaptionEnd(lm.eos_id, visible=False)
    if lm.tokenizer is None:
        raise PrefixcapError("training needs a language model with a tokenizer")
    ids = lm.tokenizer.encode(end)
    if len(ids) != 1:
        raise PrefixcapError(f"captions cannot end at {end!r}: it is {len(ids)} tokens, not one")
    return CaptionEnd(ids[0], visible=True)


def tokenize(
    lm: LanguageModel,
    captions: Sequence[Sequence[str]],
    config: TrainingConfig,
    purpose: str = "train on",
) -> list[TokenizedCaption]:
    """Tokenize the captions of each image; the first captions of all images come first.

    Captions without a token are left out. `purpose` completes the error's "there is no caption to".

    Raises:
        PrefixcapError: If there is no tokenizer, or no caption contains a word.
    """
    if lm.tokenizer is None:
        raise PrefixcapError("training needs a language model with a tokenizer")
    end = find_end(lm, config.end)
    tokenized = []
    for number in range(max(map(len, captions), default=0)):
        for row, texts in enumerate(captions):
            if number >= len(texts):
                continue
            text = texts[number].strip()
            text = sentence(text) if config.caption_format == "sentence" else text
            ids = lm.tokenizer.encode(text)[: config.max_tokens] if text else []
            if ids:
                tokenized.append(
                    TokenizedCaption(row, (*ids, *([] if end.visible else [end.token])))
                )
    if not tokenized:
        raise PrefixcapError(f"there is no caption to {purpose}")
    return tokenized


def batches(
    captions: Sequence[TokenizedCaption], size: int, generator: torch.Generator
) -> Iterator[list[TokenizedCaption]]:
    """Yield shuffled batches of captions of similar length, so that there is little padding."""
    order = torch.randperm(len(captions), generator=generator).tolist()
    groups = []
    for start in range(0, len(order), size * _POOL):
        pool = sorted(order[start : start + size * _POOL], key=lambda n: len(captions[n].ids))
        groups += [pool[first : first + size] for first in range(0, len(pool), size)]
    for number in torch.randperm(len(groups), generator=generator).tolist():
        yield [captions[index] for index in groups[number]]


def pad(batch: Sequence[TokenizedCaption]) -> tuple[Tensor, Tensor, Tensor]:
    """Stack a batch: feature rows (B), token ids (B,T) and their mask (B,T)."""
    longest = max(len(caption.ids) for caption in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros(len(batch), longest, dtype=torch.bool)
    for number, caption in enumerate(batch):
        ids[number, : len(caption.ids)] = torch.tensor(caption.ids)
        mask[number, : len(caption.ids)] = True
    return torch.tensor([caption.row for caption in batch]), ids, mask
