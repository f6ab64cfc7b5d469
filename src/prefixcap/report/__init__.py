"""A study as an HTML page, figures for papers, and tables."""

from __future__ import annotations

from prefixcap.report.writing import IMAGES, KINDS, WrittenReport, write

__all__ = ["IMAGES", "KINDS", "WrittenReport", "write"]
