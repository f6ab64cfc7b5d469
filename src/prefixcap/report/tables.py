"""The table and the differences as files: Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from prefixcap.report.content import BEST, TIED, Content, ReportRow
from prefixcap.report.numbers import interval, number, table_decimals
from prefixcap.study.analysis.tables import markdown

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        **{char: f"\\{char}" for char in "&%$#_{}"},
    }
)


def as_markdown(content: Content) -> str:
    """Return the table as Markdown, with an explanation of its marks below."""
    marks = {BEST: "**{}**", TIED: "{}†"}
    texts = _texts(
        content, content.score_names, content.fact_names, marks, lambda s: s.replace("|", r"\|")
    )
    return f"{markdown(texts)}\n{_note(content, '**bold**', '†')}\n"


def as_latex(content: Content) -> str:
    """Return the main scores of the table as LaTeX for the package booktabs."""
    from pandas import DataFrame

    marks = {BEST: r"\textbf{{{}}}", TIED: r"\underline{{{}}}"}
    scores = _main_scores(content)
    texts = _texts(content, scores, (), marks, latex)
    names = len(texts) - len(scores)
    first = next((n for n, row in enumerate(content.rows) if row.baseline), 0)
    if first:  # a rule above the baselines
        column = next(iter(texts.values()))
        column[first] = "\\midrule\n" + column[first]
    note = latex(_note(content, "BOLD", "UNDERLINED"))
    note = note.replace("BOLD", r"\textbf{bold}").replace("UNDERLINED", r"\underline{underlined}")
    table = DataFrame(texts).style.hide(axis="index")
    return "% requires \\usepackage{booktabs}; table.csv has every score\n" + table.to_latex(
        column_format="l" * names + "r" * len(scores),
        position_float="centering",
        hrules=True,
        caption=f"{latex(content.title)}. {note}".strip(),
    )


def as_csv(content: Content, rows: Sequence[ReportRow]) -> str:
    """Return rows as CSV with every digit; intervals and marks have columns of their own."""
    names = list(rows[0].columns)
    records: list[dict[str, Any]] = []
    for row in rows:
        record: dict[str, Any] = {name: row.columns.get(name, "") for name in names}
        if "seed" not in names:
            record["seeds"] = " ".join(map(str, row.seeds))
        for score in content.score_names:
            estimate = row.scores.get(score)
            record[score] = estimate and estimate.value
            record[f"{score}_low"] = estimate and estimate.low
            record[f"{score}_high"] = estimate and estimate.high
            record[f"{score}_mark"] = row.marks.get(score)
        records.append(record | {name: row.facts.get(name) for name in content.fact_names})
    return _csv(records)


def differences_as_csv(content: Content) -> Iterator[str]:
    """Yield every compared pair as a line of CSV, first minus second."""
    labels = {row.id: row.label for row in content.rows}
    names = ("difference", "low", "high", "p_adjusted", "significant")
    yield _line("first", "second", "score", *names)
    for (one, two), pair in content.pairs.items():
        numbers = (pair.value, pair.low, pair.high, pair.adjusted)
        texts = (labels[one], labels[two], content.quality)
        yield _line(*texts, *(f"{number:.7g}" for number in numbers), pair.significant)


def _line(*values: object) -> str:
    buffer = StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def explained(content: Content, best: str, tied: str) -> str:
    """Explain the intervals of the table, and its marks for the best value and its ties."""
    sentences = []
    if any(each.low is not None for row in content.rows for each in row.scores.values()):
        sentences.append(f"In brackets: {100 * content.level:.0f} % confidence intervals.")
    if any(row.marks for row in content.rows):
        sentences.append(
            f"{best}: the best of its column; {tied}: not significantly different from the best "
            f"({content.correction})."
        )
    return " ".join(sentences)


def latex(text: str) -> str:
    """Escape a text for LaTeX."""
    return text.translate(_LATEX)


def _note(content: Content, best: str, tied: str) -> str:
    return " ".join([explained(content, best, tied), *content.warnings]).strip()


def _main_scores(content: Content) -> list[str]:
    """Return the scores that fit into a paper's table."""
    wanted = (content.quality, content.diversity, *content.headlines)
    main = [name for name in content.score_names if name in wanted]
    return main or list(content.score_names)


def _texts(
    content: Content,
    scores: Sequence[str],
    facts: Sequence[str],
    marks: Mapping[str, str],
    escape: Callable[[str], str],
) -> dict[str, list[str]]:
    """Return the columns of the table, by title."""
    decimals = table_decimals(content.rows)

    def score_text(row: ReportRow, name: str) -> str:
        if name not in row.scores:
            return ""
        value = number(row.scores[name].value, decimals[name])
        marked = marks.get(row.marks.get(name, ""), "{}").format(value)
        return f"{marked} {interval(row.scores[name], decimals[name])}".strip()

    texts = {
        escape(name): [escape(row.columns.get(name, "")) for row in content.rows]
        for name in content.rows[0].columns
    }
    texts |= {escape(name): [score_text(row, name) for row in content.rows] for name in scores}
    return texts | {
        escape(name): [number(row.facts.get(name), decimals.get(name, 0)) for row in content.rows]
        for name in facts
    }


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    from pandas import DataFrame

    return str(DataFrame(records).to_csv(index=False, lineterminator="\n"))
