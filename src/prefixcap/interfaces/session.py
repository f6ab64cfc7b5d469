"""`Session`: the primitive of every search, live rows that are extended, repeated and dropped.

A row is one hypothesis of one image. The tree session in `prefixcap.engine` is the fast
implementation; decoders only see this interface.
"""

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
        rows_per_image: The maximum number of rows of one image.
        max_rows: The maximum number of live rows; images wait until theirs fit. None is no limit.
        max_new_tokens: The maximum number of tokens that extend a row.
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
    """R live rows, each of one image, on one language model.

    A session starts without rows. `admit` adds waiting images, one row each; `advance` extends,
    reorders, repeats and drops rows in one call. A decoder loops over the two; `extend` is for
    decoders that try several tokens at once.

    Example:
        >>> while session.admit() or len(session.images):
        ...     tokens = session.logits.argmax(-1)
        ...     going = (tokens != stop).nonzero().flatten()
        ...     session.advance(tokens[going], going)
    """

    def __repr__(self) -> str:
        rows, images = len(self.images), len(set(self.images))
        return f"{type(self).__name__}({rows} rows of {images} images, {self.waiting} waiting)"

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
        """The number of images that have not been admitted yet."""

    @abstractmethod
    def admit(self) -> list[int]:
        """Admit waiting images while `rows_per_image` rows for each fit into `max_rows`.

        Returns:
            The numbers of the new images; their rows, one each, come last among the live rows.
            If no row is live and images wait, at least one is admitted.
        """

    @abstractmethod
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Extend rows by one token each.

        Args:
            tokens: (R') int64, the token of each new row.
            parents: (R') int64, the row that each new row continues. Rows that are no parent are
                dropped, and rows that appear several times are repeated. Any order is allowed;
                rows of one image next to each other are the fastest.

        Returns:
            The next token's logits (R',V), float32; also in `logits`.
        """

    @abstractmethod
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        """Extend rows by several tokens in one run of the model, and keep other rows unchanged.

        The new tokens form trees whose roots continue live rows, and every token becomes a live
        row. To accept only the beginning of a text, continue from the row of its last accepted
        token; the next `advance` drops the rest.

        Args:
            tokens: (R') int64, the new tokens, each before those that continue it.
            parents: (R') int64, the row that each token continues: a live row from 0 to R-1, or
                R + i for the row of this call's token i.
            kept: (K) int64, live rows that stay; none by default.

        Returns:
            The next token's logits (K+R',V) of the rows that are live now, float32: first the
            kept rows with the logits they had, then the new ones; also in `logits`.
        """

    @abstractmethod
    def hidden(self) -> tuple[Tensor, ...]:
        """Return the last position's hidden states (R,E) of the embedding and of each layer.

        Raises:
            RuntimeError: If the session was opened without `hidden_states`.
        """

    @abstractmethod
    def prefix_hidden(self) -> Tensor:
        """Return the last layer's hidden states (b,P,E) of the prefixes admitted last.

        They belong to the images that the latest `admit` returned, in that order.

        Raises:
            RuntimeError: If the session was opened without `hidden_states`.
        """
