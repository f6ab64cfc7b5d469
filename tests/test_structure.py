"""The structure that the architecture page describes: names, folders and import cycles."""

from __future__ import annotations

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((*ROOT.glob("src/**/*.py"), *ROOT.glob("plugins/prefixcap_*/**/*.py")))
LARGEST_FOLDER = 16
"""Files in a folder, `__init__.py` included."""


def module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(file): ast.parse(file.read_text("utf-8")) for file in SOURCES}


def imports(tree: ast.Module) -> set[str]:
    """Return the modules that a module imports, in functions and under TYPE_CHECKING too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in MODULES else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(MODULES)


def cycle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_two_classes_share_a_name() -> None:
    places = defaultdict(list)
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_folder_is_crowded() -> None:
    count: dict[str, int] = defaultdict(int)
    for file in SOURCES:
        count[str(file.parent.relative_to(ROOT))] += 1
    assert {folder: files for folder, files in count.items() if files > LARGEST_FOLDER} == {}


def test_there_are_no_import_cycles() -> None:
    def is_own_folder(name: str, other: str) -> bool:
        family = name.split(".")[:2]
        return name.startswith("prefixcap_decoders.") and other.split(".")[:2] == family

    graph = {
        name: {other for other in imports(tree) if not is_own_folder(name, other)}
        for name, tree in MODULES.items()
    }
    assert cycle(graph) == []


def test_a_cycle_is_detected() -> None:
    assert cycle({"a": {"b"}, "b": {"a"}}) == ["a", "b", "a"]
