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


@attrs.frozen(kw_only=True)
class CaptionBatch:
    """C captions of B images.

    Attributes:
        rows: (B) the rows of the images' features.
        images: (C) the number of each caption's image among `rows`, ascending.
        ids: (C,T) token ids, padded on the right with zeros.
        mask: (C,T), True for tokens that are not padding.
    """

    rows: Tensor
    images: Tensor
    ids: Tensor
    mask: Tensor

    @property
    def tokens(self) -> int:
        """The number of tokens that are not padding."""
        return int(self.mask.sum())

    @property
    def longest(self) -> int:
        """The most tokens of the captions of one image."""
        tokens = torch.zeros(len(self.rows), dtype=torch.long)
        tokens.index_add_(0, self.images, self.mask.sum(1))
        return int(tokens.max())

    def parts(self, size: int | None) -> Iterator[tuple[slice, CaptionBatch]]:
        """Yield parts of at most `size` captions, each with its images' place in `rows`."""
        size = size or max(1, len(self.ids))
        for first in range(0, len(self.ids), size):
            yield self._part(slice(first, first + size))

    def share(self, number: int, count: int) -> CaptionBatch:
        """Return one of `count` shares of nearly equal size; of few captions it may be empty."""
        first, end = (len(self.ids) * each // count for each in (number, number + 1))
        return self._part(slice(first, end))[1]

    def _part(self, captions: slice) -> tuple[slice, CaptionBatch]:
        images = self.images[captions]
        place = slice(int(images[0]), int(images[-1]) + 1) if len(images) else slice(0, 0)
        part = CaptionBatch(
            rows=self.rows[place],
            images=images - place.start,
            ids=self.ids[captions],
            mask=self.mask[captions],
        )
        return place, part

    @classmethod
    def of(cls, captions: Sequence[TokenizedCaption]) -> CaptionBatch:
        """Stack captions; those of an image that follow each other share its prefix."""
        rows = torch.tensor([caption.row for caption in captions])
        distinct, images = torch.unique_consecutive(rows, return_inverse=True)
        lengths = torch.tensor([len(caption.ids) for caption in captions])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.tensor([token for caption in captions for token in caption.ids])
        return cls(rows=distinct, images=images, ids=ids, mask=mask)


def batches(
    captions: Sequence[TokenizedCaption],
    size: int,
    generator: torch.Generator,
    *,
    together: bool = False,
) -> Iterator[CaptionBatch]:
    """Yield shuffled batches of captions of similar length, so that there is little padding.

    With `together`, images are shuffled and not captions, so that the captions of an image are in
    one batch, unless it ends among them.
    """
    units: Sequence[Sequence[TokenizedCaption]]
    units = by_image(captions) if together else [[caption] for caption in captions]
    order = torch.randperm(len(units), generator=generator).tolist()
    shuffled = [caption for number in order for caption in units[number]]
    groups = []
    for start in range(0, len(shuffled), size * _POOL):
        pool = shuffled[start : start + size * _POOL]
        groups += list(in_order_of_length(pool, size, together=together))
    for number in torch.randperm(len(groups), generator=generator).tolist():
        yield CaptionBatch.of(groups[number])


def in_order_of_length(
    captions: Sequence[TokenizedCaption], size: int, *, together: bool
) -> Iterator[list[TokenizedCaption]]:
    """Yield batches by length: of captions, or of all captions of an image if `together`."""
    units = by_image(captions) if together else [[caption] for caption in captions]
    units.sort(key=lambda unit: sum(len(caption.ids) for caption in unit))
    ordered = [caption for unit in units for caption in unit]
    for first in range(0, len(ordered), size):
        yield ordered[first : first + size]


def by_image(captions: Sequence[TokenizedCaption]) -> list[list[TokenizedCaption]]:
    """Group captions by image, in the order in which the images first appear."""
    images: dict[int, list[TokenizedCaption]] = {}
    for caption in captions:
        images.setdefault(caption.row, []).append(caption)
    return list(images.values())
