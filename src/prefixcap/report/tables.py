"""The table and the differences as files: Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from prefixcap.report.content import BEST, TIED, Content, ReportRow
from prefixcap.report.numbers import counted, interval, number, table_decimals
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
    """Return the main scores of the table as LaTeX for the packages booktabs and graphicx.

    Half of each interval stands beside its score. A table that is wider than the text is scaled.
    """
    marks = {BEST: r"\textbf{{{}}}", TIED: r"\underline{{{}}}"}
    scores = _main_scores(content)
    names = list(content.rows[0].columns)
    decimals = table_decimals(content.rows)
    lines, baselines = [" & ".join(map(latex, (*names, *scores))), r"\midrule"], False
    for row in content.rows:
        if row.baseline and not baselines and len(lines) > 2:
            lines.append(r"\midrule")
        baselines |= row.baseline
        cells = [latex(readable(row.columns.get(name, ""))) for name in names]
        if row.baseline:  # its name may be as long as all of these columns
            cells = [rf"\multicolumn{{{len(names)}}}{{l}}{{{latex(row.label)}}}"]
        cells += [_latex_score(row, name, decimals[name], marks) for name in scores]
        lines.append(" & ".join(cells))
    body = "\n".join(line if line == r"\midrule" else rf"{line} \\" for line in lines)
    return rf"""% requires \usepackage{{booktabs,graphicx}}; table.csv has every score
\begin{{table}}
\centering
\caption{{{_latex_caption(content)}}}
\footnotesize
\setlength{{\tabcolsep}}{{3pt}}
\resizebox{{\ifdim\width>\linewidth \linewidth\else \width\fi}}{{!}}{{%
\begin{{tabular}}{{{"l" * len(names)}{"r" * len(scores)}}}
\toprule
{body}
\bottomrule
\end{{tabular}}}}
\end{{table}}
"""


def _latex_caption(content: Content) -> str:
    seeds = max(len(row.seeds) for row in content.rows)
    size = f"{counted(content.images, 'image')}, {counted(seeds, 'seed')}."
    if content.has_intervals:
        size += f" PM: half of the {100 * content.level:.0f} % confidence interval."
    rest = _note(content, "BOLD", "UNDERLINED", brackets=False)
    text = latex(f"{content.title}. {size} {rest}".strip())
    names = {"PM": r"$\pm$", "BOLD": r"\textbf{bold}", "UNDERLINED": r"\underline{underlined}"}
    for name, command in names.items():
        text = text.replace(name, command)
    return text


def _latex_score(row: ReportRow, name: str, decimals: int, marks: Mapping[str, str]) -> str:
    estimate = row.scores.get(name)
    if estimate is None:
        return ""
    text = marks.get(row.marks.get(name, ""), "{}").format(number(estimate.value, decimals))
    if estimate.low is None or estimate.high is None:
        return text
    half = number((estimate.high - estimate.low) / 2, decimals).removeprefix("0")
    return rf"{text}\,{{\tiny$\pm${half or 0}}}"


def readable(spec: str) -> str:
    """Return a spec in words: `beam:num_beams=5` is "beam (num beams 5)"."""
    name, colon, settings = spec.partition(":")
    if not colon or "=" not in settings:
        return spec
    words = (setting.replace("_", " ").replace("=", " ", 1) for setting in settings.split(","))
    return f"{name} ({', '.join(words)})"


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


def explained(content: Content, best: str, tied: str, *, brackets: bool = True) -> str:
    """Explain the intervals of the table, and its marks for the best value and its ties."""
    sentences = []
    if brackets and content.has_intervals:
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


def _note(content: Content, best: str, tied: str, *, brackets: bool = True) -> str:
    return " ".join([explained(content, best, tied, brackets=brackets), *content.warnings]).strip()


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
