"""`CaptionTree`: the captions of an image behind one prefix, told apart by a mask."""

from __future__ import annotations

from functools import cached_property

import attrs
import torch
from torch import Tensor

_PREFIX, _PADDING = -1, -2


@attrs.frozen(kw_only=True, slots=False)
class CaptionTree:
    """C captions in one row (L) per image, behind the image's prefix.

    A token sees the prefix and the earlier tokens of its own caption, at the positions that it
    would have without the other captions, so its logits are those of separate rows. The last token
    of a caption predicts nothing and is left out.

    Attributes:
        count: B, the number of images.
        prefix: P, the length of the prefix, with any tokens before it.
        images: (C) the number of each caption's image, ascending.
        ids: (C,T) the captions' tokens, padded on the right with any ids.
        mask: (C,T), True for tokens that are not padding, of which each caption has one or more.
    """

    count: int
    prefix: int
    images: Tensor
    ids: Tensor
    mask: Tensor

    @cached_property
    def _starts(self) -> Tensor:
        """The column (C) in which each caption begins."""
        inputs = self.mask.sum(1) - 1
        before = inputs.cumsum(0) - inputs
        first = torch.searchsorted(self.images, self.images)  # each image's first caption
        return self.prefix + before - before[first]

    @cached_property
    def length(self) -> int:
        """L, the length of the longest row."""
        ends = self._starts + self.mask.sum(1) - 1
        return max(self.prefix, int(ends.max()))

    @cached_property
    def _inputs(self) -> Tensor:
        """(C,T), True for the tokens that predict another one."""
        inputs = self.mask.clone()
        inputs[:, :-1] &= self.mask[:, 1:]
        inputs[:, -1] = False
        return inputs

    @cached_property
    def _columns(self) -> Tensor:
        """The column (C,T) of each token."""
        return self._starts[:, None] + torch.arange(self.ids.shape[1], device=self.ids.device)

    @cached_property
    def _places(self) -> Tensor:
        """The place of each input token (S) in the flattened rows."""
        rows = self.images[:, None] * self.length + self._columns
        return rows[self._inputs]

    def _filled(self, prefix: Tensor, rest: int, tokens: Tensor) -> Tensor:
        """Return (B,L) of values (P) of the prefix, values (S) of tokens, and `rest` elsewhere."""
        rows = torch.full((self.count, self.length), rest, device=self.ids.device)
        rows[:, : self.prefix] = prefix
        rows.view(-1)[self._places] = tokens
        return rows

    @cached_property
    def positions(self) -> Tensor:
        """The position (B,L) of each column; 0 for padding."""
        prefix = torch.arange(self.prefix, device=self.ids.device)
        own = self.prefix + torch.arange(self.ids.shape[1], device=self.ids.device)
        return self._filled(prefix, 0, own.expand_as(self.ids)[self._inputs])

    @cached_property
    def seen(self) -> Tensor:
        """(B,1,L,L), True where a token (third index) sees another one or itself."""
        prefix = torch.tensor(_PREFIX, device=self.ids.device)
        number = torch.arange(len(self.ids), device=self.ids.device)[:, None]
        owner = self._filled(prefix, _PADDING, number.expand_as(self.ids)[self._inputs])
        same = owner[:, :, None] == owner[:, None, :]
        # padding sees the prefix, because attention to nothing would not be a number
        seen = (same | (owner == _PREFIX)[:, None, :]).tril()
        return seen[:, None]

    def embedded(self, prefix: Tensor, tokens: Tensor) -> Tensor:
        """Lay out prefixes (B,P,E) and the embeddings (S,E) of `input_ids` as rows (B,L,E)."""
        padding = prefix.new_zeros(self.count, self.length - self.prefix, prefix.shape[-1])
        rows = torch.cat([prefix, padding], 1).flatten(0, 1)
        rows = rows.index_put((self._places,), tokens)
        return torch.unflatten(rows, 0, (self.count, self.length))

    @cached_property
    def input_ids(self) -> Tensor:
        """The tokens (S) that predict another one."""
        return self.ids[self._inputs]

    @cached_property
    def targets(self) -> Tensor:
        """The tokens (K) to be predicted, caption by caption."""
        return self.ids[self.mask]

    @cached_property
    def predictors(self) -> Tensor:
        """The place of each target's predictor (K) in the flattened rows.

        The first tokens of all captions of an image have the same one, the end of the prefix.
        """
        columns = self._columns - 1
        columns[:, 0] = self.prefix - 1
        return (self.images[:, None] * self.length + columns)[self.mask]
