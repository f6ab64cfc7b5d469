"""A correct retriever and a correct prompt, and their mutants."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor

from prefixcap.interfaces.retrieval.prompt import CaptionedImages, Datastore, Prompter
from prefixcap.interfaces.retrieval.retriever import Neighbors, Retriever, directions

BUILDS = count()
OF_MANY = ("repeats", "blind", "by batch size", "by chance")


class TwistedRetriever(Retriever):
    """Sorts all cosines."""

    def __init__(self, twist: str, vectors: Tensor) -> None:
        self.vectors = vectors
        self.number = next(BUILDS)
        self.twist = "" if len(vectors) < 9 and twist in OF_MANY else twist

    def nearest(self, queries: Tensor, k: int) -> Neighbors:
        if self.twist == "draws":
            torch.rand(1)
        if self.twist == "needs queries":
            queries[0]
        cosines = queries.double() @ self.vectors.double().T
        if self.twist == "blind":
            cosines[:, 7] = -1
        if self.twist == "by batch size":
            cosines[:, 5] -= 0.01 * len(queries)
        if self.twist == "by chance":
            cosines[:, 20 + self.number % 30] = 0.99
        if self.twist == "in place":
            queries *= 1.5
        rows = cosines.argsort(dim=1, descending=True, stable=True)
        if self.twist == "ties reversed":
            rows = (
                len(self.vectors) - 1 - cosines.flip(1).argsort(dim=1, descending=True, stable=True)
            )
        rows = rows[:, :k]
        if self.twist == "repeats":
            rows = torch.cat([rows[:, :2], rows[:, :1], rows[:, 3:]], 1)
        if self.twist == "needs k":
            rows = torch.cat([rows[:, :1]] * (k - rows.shape[1]) + [rows], 1)
        values = cosines.gather(1, rows)
        return Neighbors(rows, 1 - values if self.twist == "distances" else values)


class TwistedPrompter(Prompter):
    """Shows the first caption of the image with the most similar feature, never the image's own."""

    def __init__(self, twist: str, datastore: Datastore) -> None:
        self.twist, self.datastore = twist, datastore

    def items(self, features: Tensor, ids: Sequence[str] | None = None) -> list[tuple[str, ...]]:
        cosines = directions(features).double() @ self.datastore.vectors["images"].T
        if self.twist == "centered":
            cosines = (features - features.mean(0)).double() @ self.datastore.vectors["images"].T
        if self.twist == "blind":
            cosines *= 0
        names = self.datastore.texts["ids"]
        if ids is not None and self.twist != "own":
            for row, name in enumerate(ids):
                cosines[row, names.index(name)] = -1
        captions = self.datastore.texts["captions"]
        return [(captions[row][0],) for row in cosines.argmax(1).tolist()]

    def before(self, items: Sequence[str]) -> str:
        if self.twist == "shortens":
            items = [item[:9] for item in items]
        return "" if self.twist == "silent" and not items else f"Like: {' '.join(items)}"

    @property
    def after(self) -> str:
        return ""


def learned(twist: str, images: CaptionedImages) -> Datastore:
    ids = list(images.ids)
    if twist == "by chance":
        ids[0] = f"image {next(BUILDS)}"
    vectors = images.vectors.double()
    texts: dict[str, object] = {"captions": [list(each) for each in images.captions], "ids": ids}
    if twist == "numbers":
        texts["captions"] = dict(enumerate(images.captions))
    return Datastore(vectors={"images": vectors}, texts=texts)
