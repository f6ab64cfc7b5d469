"""Write a report: the page, the figures and the tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util import files

if TYPE_CHECKING:
    from prefixcap.report.content import Content
    from prefixcap.util.progress import Reporter

KINDS = ("pdf", "svg")
IMAGES = 200
PAGE = "report.html"


@attrs.frozen(kw_only=True)
class WrittenReport:
    """The files of a report; figures for papers and tables are absent if only the page was wanted.

    Attributes:
        images: The number of images in the gallery.
        notes: Sentences about what is wrong, missing or left out.
    """

    page: Path
    figures: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()
    images: int = 0
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `report --json` prints."""

        def text(_: object, __: object, value: object) -> object:
            return str(value) if isinstance(value, Path) else value

        return attrs.asdict(self, value_serializer=text)


def write(
    folder: Path,
    out: Path | None = None,
    *,
    kind: str = "pdf",
    score: str | None = None,
    images: int = IMAGES,
    correction: str | None = None,
    reporter: Reporter | None = None,
) -> WrittenReport:
    """Write the report of a study.

    Args:
        folder: The study's folder.
        out: A folder for the page, the figures and the tables, or an ".html" file for the page
            alone; by default the folder `report` in the study's.
        kind: The format of the figures for papers, "pdf" or "svg".
        score: The main score; by default CIDEr if it was scored.
        images: The maximum number of images in the gallery.
        correction: The correction for multiple comparisons; by default the study's own.
        reporter: Receives progress messages.

    Raises:
        PrefixcapError: If the folder holds no study, none of its cells is finished or scored, or
            an argument is invalid.
    """
    from prefixcap.report.gather import gather

    target = folder / "report" if out is None else out
    _check(target, _is_page(target), kind)
    return write_content(gather(folder, score, images, correction, reporter), target, kind)


def write_content(content: Content, target: Path, kind: str = "pdf") -> WrittenReport:
    """Write a report whose content is known; see `write`."""
    from prefixcap.report.figures import figures
    from prefixcap.report.page import page

    alone, drawn = _is_page(target), figures(content)
    path = target if alone else target / PAGE
    _write(path, page(content, drawn))
    gallery = content.gallery
    return WrittenReport(
        page=path,
        figures=()
        if alone
        else tuple(
            _write(target / "figures" / f"{figure.name}.{kind}", figure.file(kind))
            for figure in drawn.values()
        ),
        tables=()
        if alone
        else tuple(
            _write(target / "tables" / name, text) for name, text in table_files(content).items()
        ),
        images=0 if gallery is None else len(gallery.images),
        notes=(*content.warnings, *content.notes),
    )


def table_files(content: Content) -> dict[str, str | Iterator[str]]:
    """Return the text of each table of a report, in one or several parts, by its file's name."""
    from prefixcap.report import tables

    texts: dict[str, str | Iterator[str]] = {
        "table.md": tables.as_markdown(content),
        "table.tex": tables.as_latex(content),
        "table.csv": tables.as_csv(content, content.rows),
    }
    if content.single:
        texts["seeds.csv"] = tables.as_csv(content, content.single)
    if content.pairs:
        texts["differences.csv"] = tables.differences_as_csv(content)
    return texts


def _is_page(target: Path) -> bool:
    return target.suffix.lower() == ".html"


def _check(out: Path, alone: bool, kind: str) -> None:
    if kind not in KINDS:
        raise PrefixcapError(f"--format cannot be {kind!r}{nearest(kind, KINDS)}")
    if alone and out.is_dir():
        raise PrefixcapError(f"--out {out} cannot be a file: it is a folder")
    if not alone and out.exists() and not out.is_dir():
        raise PrefixcapError(
            f"--out {out} cannot be a folder: it is a file; a page alone ends in .html"
        )


def _write(path: Path, content: bytes | str | Iterator[str]) -> Path:
    parts = [content] if isinstance(content, bytes | str) else content
    encoded = (p if isinstance(p, bytes) else p.encode("utf-8", "replace") for p in parts)
    files.atomic_write(path, encoded)
    return path
