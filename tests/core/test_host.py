"""The plugin host, with real distributions on a real path."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from installed_plugins import install, plugin
from mutants.configs import TwistedDecoder, TwistedMetric

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.plugin import hookspecs, host, provenance
from prefixcap.plugin.commands import PluginCommands, plugin_commands
from prefixcap.plugin.hookspecs import hookimpl
from prefixcap.plugin.registry import Registry

GOOD = """
    from typing import ClassVar
    import attrs
    from prefixcap import DecoderConfig, hookimpl

    @attrs.frozen(kw_only=True)
    class Good(DecoderConfig):
        name: ClassVar[str] = "NAME"
        def build(self):
            raise NotImplementedError

    @hookimpl
    def prefixcap_components():
        return [Good]
"""


def test_the_built_in_plugins_are_loaded_without_an_error() -> None:
    built_in = [p for p in host.installed() if p.distribution.startswith("prefixcap ")]
    assert {p.name for p in built_in} >= {"clip", "datasets", "decoders", "hf", "mappers", "scenes"}
    assert [p for p in built_in if p.error] == []


def test_an_installed_plugin_is_found(site: Path) -> None:
    install(site, "mine", GOOD.replace("NAME", "mine-good"))
    assert [c.name for c in plugin("mine").components] == ["mine-good"]
    assert "mine-good" in Registry().names("decoder")


BROKEN = {
    "syntax": ("def broken(:", "importing plugin_syntax failed: SyntaxError: "),
    "missing": (
        "import no_such_library",
        "importing plugin_missing failed: ModuleNotFoundError: No module named 'no_such_library'",
    ),
    "leaves": ("raise ValueError('at import')", "importing plugin_leaves failed: ValueError: "),
    "raises": (
        "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_components(): 1 / 0",
        "ZeroDivisionError: division by zero",
    ),
    "nothing": ("", "TypeError: it implements no hook: mark prefixcap_components or "),
    "misspelt": (
        "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_component(): return []",
        "PluginValidationError: unknown hook 'prefixcap_component'",
    ),
    "arguments": (
        "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_components(x): return []",
        "PluginValidationError: ",
    ),
    "number": (
        "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_components(): return 3",
        "TypeError: ",
    ),
    "strange": (
        "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_components(): return [int]",
        "TypeError: <class 'int'> is not a config class of a kind (encoder, bridge, ",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_reported_and_stops_no_other(site: Path, name: str) -> None:
    source, error = BROKEN[name]
    install(site, name, source)
    install(site, "zz", GOOD.replace("NAME", "zz-good"))
    assert plugin(name).components == ()
    assert plugin(name).error.startswith(error)
    assert plugin("zz").error == ""
    assert "zz-good" in Registry().names("decoder")
    assert "greedy" in Registry().names("decoder")


def test_two_distributions_may_have_the_same_entry_point_name(site: Path) -> None:
    points = "[prefixcap]\nsame = plugin_PLACE\n"
    install(site, "one", GOOD.replace("NAME", "one-good"), points)
    install(site, "two", GOOD.replace("NAME", "two-good"), points)
    assert {"one-good", "two-good"} <= set(Registry().names("decoder"))


def answering(*components: Any) -> SimpleNamespace:
    def prefixcap_components() -> list[Any]:
        return list(components)

    return SimpleNamespace(prefixcap_components=hookimpl(prefixcap_components))


def test_any_object_with_the_hook_is_a_plugin() -> None:
    actual = host.from_object(answering(TwistedDecoder, TwistedMetric), "mine")
    assert actual == host.Plugin("mine", "this process", (TwistedDecoder, TwistedMetric))


class NotDecorated(TwistedDecoder):
    name = "not-decorated"
    forgotten: int = 1


@attrs.frozen
class NoName(DecoderConfig):
    def build(self) -> Any: ...


@attrs.frozen
class NoBuild(DecoderConfig):
    name = "no-build"


@pytest.mark.parametrize(
    ("component", "error"),
    [
        (NoBuild, "TypeError: NoBuild does not implement build()"),
        (NoName, "TypeError: NoName has no name"),
        (NotDecorated, "TypeError: NotDecorated is not an attrs.frozen class"),
        (TwistedDecoder(), "TypeError: TwistedDecoder(twist='', n=2) is not a config class"),
        (
            Component,
            "TypeError: <class 'prefixcap.interfaces.component.Component'> is not a config class",
        ),
    ],
)
def test_an_object_that_is_no_config_class_is_reported(component: Any, error: str) -> None:
    actual = host.from_object(answering(TwistedDecoder, component), "mine")
    assert actual.components == ()
    assert actual.error.startswith(error)


def test_there_are_four_hooks_with_known_arguments() -> None:
    hooks = {
        name: list(signature(hook).parameters)
        for name, hook in vars(hookspecs).items()
        if name.startswith("prefixcap_")
    }
    assert hooks == {
        "prefixcap_components": [],
        "prefixcap_commands": ["app"],
        "prefixcap_events": ["event"],
        "prefixcap_trackers": [],
    }


COMMANDS = """
    from prefixcap import hookimpl

    def NAME():
        "Do something."

    @hookimpl
    def prefixcap_commands(app):
        app.command()(NAME)
"""


def added(name: str, built_in: tuple[str, ...] = ()) -> PluginCommands:
    """Return the commands of one of the installed plugins."""
    results = plugin_commands(host.installed(components=False), built_in)
    (actual,) = (each for each in results if each.plugin.distribution == f"{name} 1.0")
    return actual


def test_a_plugin_may_have_commands_only(site: Path) -> None:
    install(site, "mine", COMMANDS.replace("NAME", "make_tea"))
    assert (plugin("mine").components, plugin("mine").error) == ((), "")
    assert list(added("mine").commands) == ["make-tea"]


def test_loading_commands_loads_no_components(site: Path) -> None:
    install(site, "mine", GOOD.replace("NAME", "mine-good"))
    assert {p.components for p in host.installed(components=False)} == {()}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("app.add_typer(type(app)())", "TypeError: a group of commands has no name"),
        ("pass", "RuntimeError: "),
        ("app.command('x')(3)", "TypeError: 3 is not a callable object"),
    ],
)
def test_a_hook_that_fails_stops_no_other(site: Path, body: str, error: str) -> None:
    hook = "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_commands(app): "
    install(site, "bad", hook + body)
    install(site, "good", COMMANDS.replace("NAME", "make_tea"))
    assert list(added("good").commands) == ["make-tea"]
    (problem,) = added("bad").problems
    assert problem.startswith(f"adding its commands failed: {error}")


def test_a_group_of_commands_counts_as_one_command(site: Path) -> None:
    hook = "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_commands(app): "
    group = "group = type(app)(); group.command('make')(lambda: None)"
    install(site, "mine", f"{hook}{group}; app.add_typer(group, name='tea')")
    assert list(added("mine").commands) == ["tea"]
    assert added("mine", ("tea",)).problems == [
        "the command 'tea' is built in and cannot be replaced"
    ]


def test_a_built_in_command_cannot_be_replaced(site: Path) -> None:
    install(site, "mine", COMMANDS.replace("NAME", "list"))
    result = added("mine", ("list",))
    assert result.commands == {}
    assert result.problems == ["the command 'list' is built in and cannot be replaced"]


def test_two_plugins_with_one_command_are_both_refused(site: Path) -> None:
    for name in ("one", "two"):
        install(site, name, COMMANDS.replace("NAME", "make_tea"))
    assert (added("one").commands, added("two").commands) == ({}, {})
    problem = "the command 'make-tea' is added by 'one' (one 1.0) and 'two' (two 1.0); uninstall"
    assert added("one").problems == added("two").problems == [f"{problem} one of them"]


LISTING = """
import json, sys
{before}
import prefixcap
from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin.specs import to_spec
registry = prefixcap.Registry()
found = {{kind: registry.names(kind) for kind in KINDS}}
to_spec(prefixcap.Greedy())
heavy = ("torch", "transformers", "numpy", "scipy", "matplotlib", "PIL", "clip", "torchvision")
print(json.dumps([found, [name for name in heavy if name in sys.modules]]))
"""


def listing(before: str = "") -> tuple[dict[str, list[str]], list[str]]:
    """List all components in a new process, and the heavy libraries that it imports."""
    program = LISTING.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    names, heavy = json.loads(done.stdout)
    return names, heavy


def test_listing_components_imports_no_heavy_library() -> None:
    names, heavy = listing()
    assert heavy == []
    assert all(names.values())


def test_the_guard_against_heavy_libraries_can_fail() -> None:
    _, heavy = listing(before="import numpy")
    assert heavy == ["numpy"]


def key_of(site: Path, name: str) -> str:
    """Return what a new process makes of a component's code in keys."""
    code = (
        "from prefixcap.plugin.registry import Registry; from prefixcap.plugin import specs; "
        f"print(specs.digest(Registry().config_class('decoder', {name!r})()))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout


def test_the_code_of_a_third_party_is_part_of_keys(site: Path) -> None:
    install(site, "third", GOOD.replace("NAME", "third"))
    info, file = site / "third-1.0.dist-info", site / "plugin_third.py"
    keys = [key_of(site, "third")]
    # code of an installed version does not change
    file.write_text(file.read_text() + "# a line\n")
    assert key_of(site, "third") == keys[0]
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third\nVersion: 1.1\n")
    keys.append(key_of(site, "third"))
    # but that of one installed in place does
    url = {"url": site.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url))
    keys.append(key_of(site, "third"))
    assert key_of(site, "third") == keys[-1]
    file.write_text(file.read_text() + "# another line\n")
    keys.append(key_of(site, "third"))
    assert len(set(keys)) == len(keys)


def test_files_of_a_package_are_part_of_its_code(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = site / "plugin_package"
    (package / "inner" / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setitem(sys.modules, "plugin_package", importlib.import_module("plugin_package"))

    def digest() -> str:
        return provenance._digest.__wrapped__(frozenset({"plugin_package"}))

    digests = [digest()]
    for name in ("inner/a.py", "inner/data.json", "b.py"):
        (package / name).write_text("1")
        digests.append(digest())
    (package / "b.py").rename(package / "inner" / "b.py")
    digests.append(digest())
    assert len(set(digests)) == 5
    for name in ("inner/__pycache__/a.pyc", ".hidden", "inner/.a.py.swp"):
        (package / name).write_text("1")
    assert digest() == digests[-1]


def test_built_in_components_have_versions_only() -> None:
    registry = Registry()
    for name in registry.names("decoder"):
        assert provenance.code_of(registry.config_class("decoder", name)) == {}
