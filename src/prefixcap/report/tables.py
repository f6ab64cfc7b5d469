"""The table and the differences as files: Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from io import StringIO

from prefixcap.report.content import BEST, TIED, Cell, Content, Estimate
from prefixcap.report.numbers import columns, interval, number
from prefixcap.study.analysis.tables import markdown

PAPER = (
    *("Bleu_1", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "SPICE"),
    *("CLIPScore", "RefCLIPScore", "Length"),
)
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


def as_markdown(content: Content) -> str:
    """Writes the table as Markdown, with what its marks say below."""
    names, facts = content.score_names, content.fact_names
    bars = str.maketrans({"|": r"\|"})
    header, body = _texts(
        content, names, facts, _marked_in_markdown, lambda text: text.translate(bars)
    )
    return f"{markdown(header, body)}\n{_note(content, '**bold**', '†')}\n"


def as_latex(content: Content) -> str:
    """Writes the table's main scores as LaTeX for the package booktabs."""
    header, body = _texts(content, _main(content), (), _marked_in_latex, latex)
    names = len(content.cells[0].columns)
    baselines = sum(cell.baseline for cell in content.cells)
    lines = [f"{' & '.join(line)} \\\\" for line in body]
    if 0 < baselines < len(lines):
        lines.insert(len(lines) - baselines, r"\midrule")
    said = latex(_note(content, "BOLD", "UNDERLINED"))
    said = said.replace("BOLD", r"\textbf{bold}").replace("UNDERLINED", r"\underline{underlined}")
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}; every score stands in table.csv",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(content.title)}.{' ' if said else ''}{said}}}",
            rf"\begin{{tabular}}{{{'l' * names}{'r' * (len(header) - names)}}}",
            r"\toprule",
            f"{' & '.join(header)} \\\\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def as_csv(content: Content, cells: Sequence[Cell]) -> str:
    """Writes rows as CSV with every digit; ends and marks stand in columns of their own."""
    names = list(cells[0].columns)
    several = [] if "seed" in names else ["seeds"]
    scores = [(s, part) for s in content.score_names for part in ("", "_low", "_high", "_mark")]
    header = [*names, *several, *(s + part for s, part in scores), *content.fact_names]
    rows: list[list[object]] = [
        [
            *(cell.columns.get(name, "") for name in names),
            *(" ".join(map(str, cell.seeds)) for _ in several),
            *(_part(cell.scores.get(score), part) for score, part in scores),
            *(cell.facts.get(name, "") for name in content.fact_names),
        ]
        for cell in cells
    ]
    return _csv([header, *rows])


def differences_as_csv(content: Content) -> str:
    """Writes every compared pair as CSV, first minus second."""
    labels = {cell.id: cell.label for cell in content.cells}
    header = ["first", "second", "score", "difference", "low", "high", "p_adjusted", "real"]
    rows: list[list[object]] = [
        [
            labels[one],
            labels[two],
            content.measures.quality,
            pair.value,
            "" if pair.low is None else pair.low,
            "" if pair.high is None else pair.high,
            pair.p,
            str(pair.real).lower(),
        ]
        for (one, two), pair in content.pairs.items()
    ]
    return _csv([header, *rows])


def explained(content: Content, best: str, tied: str) -> str:
    """Says what the table's intervals and marks are.

    Args:
        content: the report's.
        best: how the best is marked.
        tied: how what cannot be told from the best is marked.
    """
    estimates = [found for cell in content.cells for found in cell.scores.values()]
    said = []
    if any(found.low is not None for found in estimates):
        said.append(f"In brackets: {100 * content.level:.0f} % confidence intervals.")
    if any(found.mark for found in estimates):
        said.append(
            f"{best}: the best of its column; {tied}: not significantly different from the best "
            f"({content.correction})."
        )
    return " ".join(said)


def _note(content: Content, best: str, tied: str) -> str:
    return " ".join([explained(content, best, tied), *content.warnings]).strip()


def latex(text: str) -> str:
    """Writes a text so that LaTeX prints it as it is."""
    return "".join(_LATEX.get(char, char) for char in text)


def _main(content: Content) -> list[str]:
    """Returns the scores that a paper's table has room for."""
    wanted = (content.measures.quality, content.measures.diversity)
    # an encoder other than the usual one stands in brackets
    found = [s for s in content.score_names if s in wanted or s.partition("[")[0] in PAPER]
    return found or list(content.score_names)


def _texts(
    content: Content,
    scores: Sequence[str],
    facts: Sequence[str],
    marked: Callable[[Estimate, int], str],
    plain: Callable[[str], str],
) -> tuple[list[str], list[list[str]]]:
    names = list(content.cells[0].columns)
    decimals = columns(content.cells)
    header = [plain(name) for name in (*names, *scores, *facts)]
    body = [
        [
            *(plain(cell.columns.get(name, "")) for name in names),
            *(
                marked(cell.scores[name], decimals[name]) if name in cell.scores else ""
                for name in scores
            ),
            *(plain(number(cell.facts.get(name), decimals.get(name, 0))) for name in facts),
        ]
        for cell in content.cells
    ]
    return header, body


def _marked_in_markdown(found: Estimate, decimals: int) -> str:
    value = number(found.value, decimals)
    marked = {BEST: f"**{value}**", TIED: f"{value}†"}.get(found.mark, value)
    return f"{marked} {interval(found.low, found.high, decimals)}".strip()


def _marked_in_latex(found: Estimate, decimals: int) -> str:
    value = number(found.value, decimals)
    marks = {BEST: rf"\textbf{{{value}}}", TIED: rf"\underline{{{value}}}"}
    marked = marks.get(found.mark, value)
    return f"{marked} {interval(found.low, found.high, decimals)}".strip()


def _part(found: Estimate | None, part: str) -> object:
    if found is None:
        return ""
    each = {"": found.value, "_low": found.low, "_high": found.high, "_mark": found.mark}[part]
    return "" if each is None else each


def _csv(rows: Sequence[Sequence[object]]) -> str:
    buffer = StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
