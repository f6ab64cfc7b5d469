"""What a finished study's numbers say: read from its folder, with intervals and comparisons."""

from __future__ import annotations

from prefixcap.study.finished import CaptionedImage, Cell, Finished, read

__all__ = ["CaptionedImage", "Cell", "Finished", "read"]
