"""What `bench` shows at its end: the table, some captions, the folder and the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefixcap.study.results import markdown, table

if TYPE_CHECKING:
    from prefixcap.study.results import Results

SHOWN = 5
WIDE = 160
MAIN = ("Bleu_1", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr")


def text(results: Results, width: int = WIDE) -> str:
    """Writes a study's results for a terminal of some width."""
    whole = markdown(*table(results.rows, results.baselines))
    main = markdown(*table(results.rows, results.baselines, MAIN))
    narrow = len(whole.partition("\n")[0]) > width and any(
        name in row["scores"] for row in results.rows for name in MAIN
    )
    parts = [main if narrow else whole]
    if narrow:
        parts.append(f"every score: {results.folder / 'table.md'}")
    parts += _captions(results)
    if results.skipped:
        parts.append(f"{len(results.skipped)} images could not be read and were left out")
    picture = results.folder / "grid.png"
    if picture.exists():
        parts.append(f"picture: {picture}")
    parts.append(f"run: {results.folder}")
    return "\n".join(parts)


def _captions(results: Results) -> list[str]:
    lines = []
    for row, example in enumerate(results.test[:SHOWN]):
        lines.append(example.image.id)
        for result in results.rows:
            made = results.captions[result["cell"]][row]["captions"][0]["text"]
            what = f"{result['mapper']} P={result['prefix_length']} {result['decoder']}"
            lines.append(f"  {what}: {made}")
        lines += [f"  a human's: {text}" for text in example.references[:2]]
    return [*lines, ""]
