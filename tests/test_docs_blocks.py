"""Run the code blocks of the documentation.

On each page, the `$` lines of ```console blocks and the ```python blocks are run in order, in one
fresh folder. A block below a comment `<!-- not run: why -->` needs what a test cannot have (a
download, a GPU, hours) and is left out. Trainings on 1,000 images take a hundred, as they are the
same on three pages.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?P<skip><!-- not run: [^>]+ -->\n+)?^```(?P<kind>console|python)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen
class Block:
    kind: str
    text: str

    def commands(self) -> list[list[str]]:
        if self.kind == "python":
            return [[sys.executable, "-c", self.text]]
        joined = self.text.replace("\\\n", " ").replace("--limit 1000", "--limit 100")
        lines = [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
        return [["bash", "-ceu", line] for line in lines]


def blocks(page: str) -> list[Block]:
    result = BLOCK.finditer(page)
    return [Block(m["kind"], m["text"]) for m in result if not m["skip"]]


RUN = [page for page in PAGES if blocks(page.read_text(encoding="utf-8"))]


@pytest.mark.timeout(1800)  # a page may train more than once, and machines differ
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PREFIXCAP_CACHE": str(tmp_path / "cache"),
        # trainings of several pages at once slow each other down with more threads than cores
        "OMP_NUM_THREADS": "1",
    }
    for block in blocks(page.read_text(encoding="utf-8")):
        for command in block.commands():
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
            )
            assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"


def test_a_failing_block_is_detected() -> None:
    page = "```console\n$ false\n```\n"
    (block,) = blocks(page)
    assert subprocess.run(block.commands()[0], check=False).returncode == 1


def test_a_block_is_skipped_only_with_a_reason() -> None:
    page = "<!-- not run: needs a GPU -->\n```console\n$ false\n```\n```console\n$ true\n```\n"
    assert [block.text for block in blocks(page)] == ["$ true\n"]
