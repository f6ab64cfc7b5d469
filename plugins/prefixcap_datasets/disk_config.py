"""The settings that data sets on disk have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import attrs

from prefixcap.interfaces.component import PATH
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap_datasets.shares import words_or_shares

if TYPE_CHECKING:
    from prefixcap_datasets.entries import Source


@attrs.frozen(kw_only=True)
class DiskConfig(DatasetConfig):
    """The settings of every data set on disk."""

    recommended: ClassVar[Mapping[str, str]] = {"encoder": "clip"}

    path: str = attrs.field(metadata=PATH)
    splits: str = attrs.field(default="", validator=words_or_shares(""))
    seed: int = 0

    @property
    def source(self) -> Source:
        """These settings alone, and `allow_outside` if there is such a setting."""
        from prefixcap_datasets.entries import Source

        allow_outside = getattr(self, "allow_outside", False)
        return Source(
            path=self.path, splits=self.splits, seed=self.seed, allow_outside=allow_outside
        )


@attrs.frozen(kw_only=True)
class FilesConfig(DiskConfig):
    """The settings of every data set with image files."""

    allow_outside: bool = False
