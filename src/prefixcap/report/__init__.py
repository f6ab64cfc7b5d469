"""A study as a page to read, figures for papers, and tables."""

from __future__ import annotations

from prefixcap.report.writing import IMAGES, KINDS, Written, write

__all__ = ["IMAGES", "KINDS", "Written", "write"]
