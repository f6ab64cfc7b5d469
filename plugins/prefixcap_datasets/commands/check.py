"""The output of `prefixcap data check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prefixcap.util.text import visible
from prefixcap_datasets.commands.findings import MISSING, NEAR, Finding, Findings

SHOWN = 5
"""How many findings of a kind are shown."""
_COLUMNS = ("split", "images", "captions", "captions an image (min, mean, max)")
_UNNEEDED = "none is needed if features are precomputed: --no-images leaves images out"


def lines(findings: Findings) -> Iterator[str]:
    """Yield the lines that people read."""
    yield from _table(findings.splits)
    counts = findings.counts
    parts = ["images were not read"]
    if counts["images_read"] or counts["missing"] or counts["unreadable"]:
        parts = [f"{counts['images_read']:,} of {counts['images']:,} images read"]
    parts += [f"{counts[key]:,} {key}" for key in ("missing", "unreadable") if counts[key]]
    if counts["embeddings"]:
        parts.append(f"{counts['embeddings']:,} embeddings")
    yield ", ".join(parts)
    for kind, found in findings.problems.items():
        end = f" ({_UNNEEDED})" if kind == MISSING and not counts["images_read"] else ""
        yield from _section("problem", kind, found, len(found), end)
    for kind, found in findings.hints.items():
        near = findings.near if kind == NEAR else None
        total = near["pairs"] if near else len(found)
        end = f" ({near['method']}, at most {near['most_bits']} bits apart)" if near else ""
        yield from _section("hint", kind, found, total, end)
    if findings.near and NEAR not in findings.hints:
        near = findings.near
        yield f"no near duplicates ({near['method']}, at most {near['most_bits']} bits apart)"
    count = sum(map(len, findings.problems.values()))
    yield f"{count:,} problems" if count else "no problems"


def _table(splits: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    rows = [_COLUMNS]
    for split, each in splits.items():
        captions = f"{each['min']:.0f}, {each['mean']:.2f}, {each['max']:.0f}"
        row = (visible(split), f"{each['images']:,.0f}", f"{each['captions']:,.0f}", captions)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *right])


def _section(
    label: str, kind: str, found: Sequence[Finding], total: int, end: str
) -> Iterator[str]:
    yield f"{label}: {kind.replace('_', ' ')}: {total:,}{end}"
    yield from (f"  {visible(each.text)}" for each in found[:SHOWN])
    if total > SHOWN:
        yield f"  and {total - SHOWN:,} more, which --json lists"
