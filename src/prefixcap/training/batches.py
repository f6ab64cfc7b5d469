"""From captions to token ids, and from these to batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.training.config import TrainingConfig

_POOL = 20


@attrs.frozen
class CaptionEnd:
    """What ends a caption: the stop token, and whether it is a visible part of the text."""

    token: int
    visible: bool


@attrs.frozen
class TokenizedCaption:
    """One caption with the row of its image's feature."""

    row: int
    ids: tuple[int, ...]


def sentence(caption: str) -> str:
    """Writes a caption as a sentence: "a dog runs ." becomes "A dog runs."."""
    text = " ".join(caption.split())
    text = text.replace(" ,", ",").replace(" '", "'").rstrip(" .")
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def find_end(lm: LanguageModel, end: str) -> CaptionEnd:
    """Finds the token that ends captions.

    Raises:
        PrefixcapError: the language model has no end-of-text token, or no tokenizer, or the text
            is not one token.
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
    lm: LanguageModel, captions: Sequence[Sequence[str]], config: TrainingConfig
) -> list[TokenizedCaption]:
    """Turns each image's captions into token ids, the first caption of every image first.

    Raises:
        PrefixcapError: there is no tokenizer, or no caption with a word in it.
    """
    if lm.tokenizer is None:
        raise PrefixcapError("training needs a language model with a tokenizer")
    end = find_end(lm, config.end)
    found = []
    for number in range(max(map(len, captions), default=0)):
        for row, texts in enumerate(captions):
            if number >= len(texts):
                continue
            text = texts[number].strip()
            text = sentence(text) if config.caption_format == "sentence" else text
            if text:
                ids = lm.tokenizer.encode(text)[: config.max_tokens]
                found.append(TokenizedCaption(row, (*ids, *([] if end.visible else [end.token]))))
    if not found:
        raise PrefixcapError("there is no caption to train on")
    return found


def batches(
    pairs: Sequence[TokenizedCaption], size: int, generator: torch.Generator
) -> Iterator[list[TokenizedCaption]]:
    """Deals shuffled batches of captions of like length, so that little is padded."""
    order = torch.randperm(len(pairs), generator=generator).tolist()
    found = []
    for start in range(0, len(order), size * _POOL):
        pool = sorted(order[start : start + size * _POOL], key=lambda n: len(pairs[n].ids))
        found += [pool[first : first + size] for first in range(0, len(pool), size)]
    for number in torch.randperm(len(found), generator=generator).tolist():
        yield [pairs[index] for index in found[number]]


def pad(batch: Sequence[TokenizedCaption]) -> tuple[Tensor, Tensor, Tensor]:
    """Stacks a batch: feature rows (B), token ids (B,T) and their mask (B,T)."""
    longest = max(len(pair.ids) for pair in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros(len(batch), longest, dtype=torch.bool)
    for number, pair in enumerate(batch):
        ids[number, : len(pair.ids)] = torch.tensor(pair.ids)
        mask[number, : len(pair.ids)] = True
    return torch.tensor([pair.row for pair in batch]), ids, mask
