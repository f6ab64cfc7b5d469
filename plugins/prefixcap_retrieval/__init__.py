"""Retrievers (`exact`, `faiss`) and prompts (`none`, `retrieved`, `entities`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefixcap.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from prefixcap.interfaces.component import Component


@hookimpl
def prefixcap_components() -> Iterable[type[Component]]:
    """Return the retrievers and prompts."""
    from prefixcap_retrieval.configs import Exact, Faiss
    from prefixcap_retrieval.prompt_configs import Entities, NoPrompt, Retrieved

    return [Exact, Faiss, NoPrompt, Retrieved, Entities]
