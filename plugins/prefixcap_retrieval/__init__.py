"""Retrievers: `exact` and `faiss`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the retrievers."""
    from prefixcap_retrieval.configs import Exact, Faiss

    return [Exact, Faiss]
