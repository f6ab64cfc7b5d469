"""Configs of the retrievers."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.retrieval.retriever import Retriever, RetrieverConfig
from prefixcap.interfaces.validators import at_least, one_of

if TYPE_CHECKING:
    from torch import Tensor

INDEXES = ("flat", "ivf", "hnsw")


@attrs.frozen(kw_only=True)
class Exact(RetrieverConfig):
    """All cosines, block by block, without an index."""

    name: ClassVar[str] = "exact"

    @override
    def build(self, vectors: Tensor) -> Retriever:
        from prefixcap_retrieval.exact import ExactRetriever

        return ExactRetriever(vectors)


@attrs.frozen(kw_only=True)
class Faiss(RetrieverConfig):
    """An index of faiss (Douze et al. 2024, arXiv:2401.08281), for millions of vectors.

    The index proposes candidates, of which the nearest are chosen by their exact cosines.

    Attributes:
        index: "flat" compares all vectors; "ivf" those of the nearest clusters (Sivic and Zisserman
            2003); "hnsw" follows a graph of neighbors (Malkov and Yashunin 2016, arXiv:1603.09320).
        lists: The number of clusters of "ivf"; by default four times the square root of the number
            of vectors, with at least 39 vectors each.
        probes: The number of clusters that "ivf" looks into.
        links: The number of links of a vector in the graph of "hnsw".
        effort: The number of vectors that "hnsw" keeps in view.
        spare: The number of candidates beyond those asked for.
    """

    name: ClassVar[str] = "faiss"

    index: str = attrs.field(default="flat", validator=one_of(INDEXES))
    lists: int | None = attrs.field(default=None, validator=at_least(1))
    probes: int = attrs.field(default=16, validator=at_least(1))
    links: int = attrs.field(default=32, validator=at_least(2))
    effort: int = attrs.field(default=64, validator=at_least(1))
    spare: int = attrs.field(default=16, validator=at_least(0))

    @override
    def build(self, vectors: Tensor) -> Retriever:
        if importlib.util.find_spec("faiss") is None:
            raise PrefixcapError("retriever 'faiss' needs faiss: pip install 'prefixcap[faiss]'")
        from prefixcap_retrieval.faiss_index import FaissRetriever

        return FaissRetriever(vectors, **attrs.asdict(self))
