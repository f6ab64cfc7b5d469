"""`CaptionSearch`: the captions of known images that are nearest to a feature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.retrieval.retriever import MISSING, RetrieverConfig, directions
from prefixcap.util.words import words

TOGETHER = 256
"""The number of queries whose candidates are in memory together."""


class CaptionSearch:
    """Finds the captions with the highest cosines, equal ones in the order of the images.

    Args:
        images: (M,D), the directions of the images' features.
        captions: M lists of captions.
        ids: The images' M names.
        texts: (C,D), the directions of all captions in this order, by which they are found; None if
            they are found by their images.
        retriever: How the nearest vectors are found.
        k: The number of captions.
        per_image: The maximum number of captions of one image; None for any.
        duplicate: An image whose cosine with the feature is above this counts as the same picture,
            so its captions are left out; None for no such limit.

    Raises:
        PrefixcapError: If some image has fewer than `k` captions of others.
    """

    def __init__(
        self,
        images: Tensor,
        captions: Sequence[Sequence[str]],
        ids: Sequence[str],
        texts: Tensor | None,
        *,
        retriever: RetrieverConfig,
        k: int,
        per_image: int | None = None,
        duplicate: float | None = None,
    ) -> None:
        self._k, self._duplicate = k, duplicate
        counts = [len(each) for each in captions]
        self._per_image = per_image or max(counts)
        usable = [min(count, self._per_image) for count in counts]
        if sum(usable) - max(usable) < k:
            raise PrefixcapError(
                f"k={k} captions of other images are to be retrieved, and of {len(counts)} images "
                f"with captions, all but one have {sum(usable) - max(usable)}: choose fewer"
            )
        self._images, self._captions = images, captions
        self._numbers = {name: number for number, name in enumerate(ids)}
        entries = [[(number, text) for text in each] for number, each in enumerate(captions)]
        if texts is not None:
            entries = [[entry] for each in entries for entry in each]
        self._entries = entries
        # the image of each row of the index
        self._owners = torch.tensor([each[0][0] if each else 0 for each in entries])
        self._index = retriever.build(images if texts is None else texts)

    def nearest(self, features: Tensor, ids: Sequence[str] | None = None) -> list[tuple[str, ...]]:
        """Return the nearest captions of each image, the nearest first.

        Captions of the same words count as one. There are fewer than `k` only if too many images
        count as the same picture, or an approximate index misses some.

        Args:
            features: (B,D) or (B,N,D).
            ids: The images' B names if they are among the known ones: their own captions, and
                others of the same words, are left out.
        """
        found: list[tuple[str, ...]] = []
        for start in range(0, len(features), TOGETHER):
            queries = directions(features[start : start + TOGETHER])
            names = [""] * len(queries) if ids is None else ids[start : start + TOGETHER]
            found += self._nearest(queries, [self._numbers.get(name) for name in names])
        return found

    def _nearest(self, queries: Tensor, own: Sequence[int | None]) -> list[tuple[str, ...]]:
        """Ask for more neighbors of each query until enough are left."""
        done: dict[int, tuple[str, ...]] = {}
        count = 2 * self._k + 8
        while pending := [row for row in range(len(queries)) if row not in done]:
            neighbors = self._index.nearest(queries[pending], count).rows
            cosines = self._image_cosines(queries[pending], neighbors).tolist()
            for place, row in enumerate(pending):
                rows = neighbors[place].tolist()
                texts = self._chosen(rows, cosines[place], own[row])
                if len(texts) == self._k or len(rows) < count or MISSING in rows:
                    done[row] = texts
            count *= 4
        return [done[row] for row in range(len(queries))]

    def _image_cosines(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Return the cosines (B,K) of queries with the images of their neighbors' rows."""
        vectors = self._images[self._owners[rows.clamp_min(0)]].double()  # (B, K, D)
        return (vectors @ queries.double()[:, :, None]).squeeze(2)

    def _chosen(
        self, rows: Sequence[int], cosines: Sequence[float], own: int | None
    ) -> tuple[str, ...]:
        texts: list[str] = []
        seen = {"", *([] if own is None else map(_content, self._captions[own]))}
        counts: Counter[int] = Counter()
        for image, text in self._candidates(rows, cosines):
            content = _content(text)
            if image == own or counts[image] >= self._per_image or content in seen:
                continue
            counts[image] += 1
            seen.add(content)
            texts.append(text.strip())
            if len(texts) == self._k:
                break
        return tuple(texts)

    def _candidates(
        self, rows: Sequence[int], cosines: Sequence[float]
    ) -> Iterator[tuple[int, str]]:
        for row, cosine in zip(rows, cosines, strict=True):
            same = self._duplicate is not None and cosine > self._duplicate
            if row != MISSING and not same:
                yield from self._entries[row]


def _content(text: str) -> str:
    return " ".join(words(text))
