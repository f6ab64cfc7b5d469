"""The primitive that carries every search: live rows that are extended, repeated and dropped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen(kw_only=True)
class SessionOptions:
    """How a session is opened.

    Attributes:
        rows_per_image: The most rows that a decoder will hold for one image.
        max_rows: The most live rows; images wait until their rows fit. Unlimited by default.
        max_new_tokens: The most tokens that a row will be extended by.
        hidden_states: Whether the decoder will read hidden states.
    """

    rows_per_image: int = 1
    max_rows: int | None = None
    max_new_tokens: int = 64
    hidden_states: bool = False

    def images_at_once(self, images: int) -> int:
        """Return how many of `images` may be live together: at least one, if there is any."""
        rows = self.max_rows or images * self.rows_per_image
        return min(images, max(1, rows // self.rows_per_image))


class Session(ABC):
    """R live rows, each with its image, on one language model.

    A session begins without rows. `admit` brings in waiting images, one row each; `advance`
    extends, reorders, repeats and drops rows in one call. A decoder is a loop of the two; `extend`
    is for those that try several tokens at once.

    Example:
        >>> while session.admit() or len(session.images):
        ...     tokens = session.logits.argmax(-1)
        ...     going = (tokens != stop).nonzero().flatten()
        ...     session.advance(tokens[going], going)
    """

    @property
    @abstractmethod
    def images(self) -> list[int]:
        """The image of each live row (R), a number from 0 to B-1."""

    @property
    @abstractmethod
    def logits(self) -> Tensor:
        """The next token's logits (R,V) of each live row, float32."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many images have not been admitted yet."""

    @abstractmethod
    def admit(self) -> list[int]:
        """Brings in waiting images while `rows_per_image` rows for each fit into `max_rows`.

        Returns:
            The numbers of the new images; their rows, one each, are the last of the live rows.
            At least one image comes in where no row is live and one waits.
        """

    @abstractmethod
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extends rows by one token each.

        Args:
            tokens: (R') int64, the token that each new row is extended by.
            parents: (R') int64, the row that each new row continues. A row that is no parent is
                dropped; one that stands more than once is repeated. Any order will do; rows of
                one image kept side by side are the fastest.

        Returns:
            The next token's logits (R',V), float32; also in `logits`.
        """

    @abstractmethod
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        """Extends rows by texts of several tokens in one run, beside rows that stay as they are.

        The new tokens form trees on the live rows, and every one of them becomes a live row, the
        texts half-way too. So a text is taken back by going on from a row before its end, and one
        of several is chosen by going on from it; `advance` then drops the rest.

        Args:
            tokens: (R') int64, the new tokens, any before those that continue it.
            parents: (R') int64, the row that each one continues: a live row from 0 to R-1, or R + i
                for the one that the call's own token i makes.
            kept: (K) int64, live rows that stay; none unless given.

        Returns:
            The next token's logits (K+R',V) of the rows that are live now, float32: first those
            kept, with the logits that they had, then the new ones; also in `logits`.
        """

    @abstractmethod
    def hidden(self) -> tuple[Tensor, ...]:
        """Returns the last position's hidden states (R,E) of the embedding and of each layer.

        Raises:
            RuntimeError: the session was opened without `hidden_states`.
        """

    @abstractmethod
    def prefix_hidden(self) -> Tensor:
        """Returns the last layer's hidden states (b,P,E) of the prefixes that came in last.

        These are of the images that the latest `admit` returned, in its order; `hidden` has the
        last of their positions.

        Raises:
            RuntimeError: the session was opened without `hidden_states`.
        """
