"""The documentation in `docs/` lists what the code has, and nothing else.

The shell's help is held against `docs/cli.md` in `tests/cli/test_help.py`.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import attrs
import pytest

import prefixcap
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import hookspecs
from prefixcap.plugin.registry import default_registry
from prefixcap.plugin.specs import to_json
from prefixcap.testing import rules_for

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = Path(__file__).parents[1] / "plugins" / "example"
BUILT_IN = [
    component
    for plugin in default_registry().plugins
    for component in plugin.components
    if plugin.distribution.startswith("prefixcap ")
]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def setting(component: type[Component], field: attrs.Attribute[object]) -> str:
    """Format a setting as the reference does, with its default if it has one."""
    if field.default is attrs.NOTHING:
        return f"`{field.name}`"
    default = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()  # type: ignore[attr-defined]
    text = "+".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"`{field.name}={text.lower() if isinstance(default, bool) else text}`"


def row(component: type[Component]) -> str:
    """Format the reference's row of a config class."""
    settings = ", ".join(setting(component, field) for field in attrs.fields(component))
    return f"| `{component.name}` | `{component.__name__}` | {settings} |"


def missing_rows(text: str, components: list[type[Component]]) -> list[str]:
    """Return the rows of a kind that its section lacks."""
    sections = re.split(r"^### ", text, flags=re.MULTILINE)
    by_kind = {part.split("\n")[0].strip("` "): part for part in sections}
    return [row(c) for c in components if row(c) not in by_kind.get(c.kind, "")]


def test_every_config_class_and_setting_is_in_the_reference() -> None:
    assert missing_rows(page("reference.md"), BUILT_IN) == []


def test_the_reference_has_no_unknown_component() -> None:
    known = {row(component) for component in BUILT_IN}
    written = re.findall(r"^\| `[a-z0-9-]+` \| `[A-Z]\w+` \| .*\|$", page("reference.md"), re.M)
    assert [line for line in written if line not in known] == []


def test_a_missing_setting_is_detected() -> None:
    text = page("reference.md").replace("`epsilon=", "`gone=")
    assert any("epsilon" in line for line in missing_rows(text, BUILT_IN))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_section_in_the_reference(kind: str) -> None:
    assert f"### `{kind}`" in page("reference.md")


def test_every_hook_is_in_the_reference_and_the_tutorial() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("prefixcap_")]
    assert hooks
    for name in hooks:
        assert f"`{name}`" in page("reference.md")
        assert f"`{name}`" in page("plugins.md")


@pytest.mark.parametrize("name", sorted(prefixcap._HOMES))
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert f"::: prefixcap.{prefixcap._HOMES[name]}.{name}\n" in page("reference.md")


def test_every_name_in_the_reference_exists() -> None:
    for path in re.findall(r"^::: (\S+)$", page("reference.md"), re.MULTILINE):
        module, _, name = path.rpartition(".")
        assert hasattr(import_module(module), name), path


@pytest.mark.parametrize("kind", KINDS)
def test_the_kits_page_states_every_rule(kind: str) -> None:
    text = page("conformance.md")
    for rule in rules_for(kind):
        assert f"| `{rule.name}` | {rule.requirement} |" in text


def test_the_kits_page_has_no_unknown_rule() -> None:
    known = {(rule.name, rule.requirement) for kind in KINDS for rule in rules_for(kind)}
    written = re.findall(r"^\| `([a-z-]+)` \| (.*\.) \|$", page("conformance.md"), re.M)
    assert len(written) >= len(known)
    assert set(written) <= known


@pytest.mark.parametrize(
    "path",
    [
        "pyproject.toml",
        "src/prefixcap_example/__init__.py",
        "src/prefixcap_example/decoder.py",
        "tests/test_epsilon_greedy.py",
    ],
)
def test_the_plugin_tutorial_shows_the_example_files(path: str) -> None:
    text = (EXAMPLE / path).read_text(encoding="utf-8")
    language = "toml" if path.endswith("toml") else "python"
    assert f"```{language}\n{text}```" in page("plugins.md")


def test_the_names_in_the_json_of_a_config_are_those_of_the_reference() -> None:
    for component in BUILT_IN:
        required = [f for f in attrs.fields(component) if f.default is attrs.NOTHING]
        config = component(**{field.name: "x" for field in required})
        assert list(to_json(config)) == ["name", *(f.name for f in attrs.fields(component))]


def test_the_architecture_page_names_files_and_classes_that_exist() -> None:
    text = page("architecture.md")
    paths = re.findall(r"`(\w+/[\w/]+\.py)`", text)
    assert paths
    roots = (DOCS.parent, DOCS.parent / "src" / "prefixcap")
    assert [path for path in paths if not any((root / path).exists() for root in roots)] == []
    sources = [file.read_text("utf-8") for file in DOCS.parent.glob("*/**/*.py")]
    defined = set(re.findall(r"^class (\w+)", "\n".join(sources), re.MULTILINE))
    cells = re.findall(r"^\| [a-z ]+ \| ([^|]*)\|", text.partition("## Glossary")[2], re.MULTILINE)
    glossary = set(re.findall(r"`(\w+)`", " ".join(cells)))
    assert glossary
    assert glossary - defined == set()


def test_the_tree_on_the_architecture_page_has_every_folder_of_the_source() -> None:
    text = page("architecture.md")
    for top in ("src/prefixcap", "plugins"):
        for folder in (DOCS.parent / top).iterdir():
            if folder.is_dir() and folder.name != "__pycache__":
                assert f"\n  {folder.name}/ " in text


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_links_between_pages_resolve(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+\.md)", text):
        assert (path.parent / target).is_file(), f"{path.name} links to {target}"
