from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli_world import make_world

from prefixcap.cli import main

HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'


def make_study(folder: Path) -> Path:
    """Run a small study with a reference caption that contains hostile text."""
    world = make_world(folder)
    path = world.data / "captions.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    first = next(line for line in lines if line["split"] == "test")
    first["captions"].append(HOSTILE)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    study = folder / "study"
    words = ["--decoder", "top-p", "--seed", "0,1", "--out", str(study)]
    assert main([*world.bench, *words]) == 0
    return study


def gallery_data(page: Path) -> dict[str, Any]:
    """Return the data of the page's script."""
    text = page.read_text("utf-8").partition('id="gallery-data">')[2].partition("</script>")[0]
    result: dict[str, Any] = json.loads(text)
    return result
