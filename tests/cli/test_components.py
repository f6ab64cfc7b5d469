from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import attrs
import pytest
import typer

from prefixcap.interfaces.kinds import KINDS
from prefixcap.plugin import host
from prefixcap.plugin.registry import default_registry

Shell = Callable[..., tuple[int, str, str]]


def test_list_names_every_kind_and_its_components(shell: Shell) -> None:
    status, out, _ = shell("list")
    assert status == 0
    for kind in ("encoder", "bridge", "mapper", "lm", "tuning", "prompt", "decoder", "dataset"):
        assert f"{kind}:" in out.splitlines()
    assert "  greedy" in out


def test_list_of_one_kind_as_json(shell: Shell) -> None:
    _, out, _ = shell("list", "mapper", "--json")
    result = json.loads(out)
    assert list(result) == ["mapper"]
    assert {"linear", "mlp", "transformer"} <= set(result["mapper"])


def test_show_prints_settings_defaults_and_the_plugin(shell: Shell) -> None:
    _, out, _ = shell("show", "decoder", "beam")
    assert "of decoders (prefixcap" in out
    assert "  num_beams: int, default 5" in out
    assert "\n      Number of hypotheses kept at each step.\n" in out
    # documented in a base class
    assert "  min_new_tokens: int, default 0\n      Minimum number of tokens before the" in out
    _, out, _ = shell("show", "dataset", "jsonl")
    assert "  path: str, required" in out
    _, out, _ = shell("show", "decoder", "beam", "--json")
    settings = {setting["name"]: setting for setting in json.loads(out)["settings"]}
    assert settings["num_beams"]["default"] == 5


def test_show_documents_every_setting(shell: Shell) -> None:
    registry = default_registry()
    missing = []
    for kind in KINDS:
        for name in registry.names(kind):
            _, out, _ = shell("show", kind, name, "--json")
            settings = json.loads(out)["settings"]
            missing += [f"{kind} {name}: {s['name']}" for s in settings if not s["meaning"]]
    assert missing == []


def test_plugins_as_json(shell: Shell) -> None:
    _, out, _ = shell("plugins", "--json")
    result = {plugin["name"]: plugin for plugin in json.loads(out)}
    assert "decoder greedy" in result["decoders"]["components"]
    assert result["decoders"]["error"] == ""
    assert result["clipcap"]["commands"] == ["import-clipcap"]
    _, out, _ = shell("plugins")
    assert "  commands: import-clipcap\n" in out


@pytest.fixture
def own_registry() -> Iterator[None]:
    default_registry.cache_clear()
    yield
    default_registry.cache_clear()


BROKEN = host.Plugin("bad", "bad 1.0", error="importing bad failed: OSError: no disk")


def failing(app: typer.Typer) -> None:
    raise ValueError


def greedy_list(app: typer.Typer) -> None:
    app.command("list")(lambda: None)


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        (BROKEN, "it failed to load: importing bad failed: OSError: no disk"),
        (attrs.evolve(BROKEN, error="", add_commands=failing), "adding its commands fail"),
        (
            attrs.evolve(BROKEN, error="", add_commands=greedy_list),
            "the command 'list' is built in and cannot be replaced",
        ),
    ],
)
@pytest.mark.usefixtures("own_registry")
def test_a_plugin_that_adds_no_commands_is_reported(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, plugin: host.Plugin, problem: str
) -> None:
    monkeypatch.setattr(host, "installed", lambda *, components=True: [plugin])
    status, out, err = shell("--help")
    assert (status, "list" in out) == (0, True)
    assert err.startswith(f"prefixcap: warning: the plugin 'bad' (bad 1.0): {problem}")
    assert err.count("\n") == 1
    assert "decoder:" in shell("list")[1]
    assert f"  failed: {problem.removeprefix('it failed to load: ')}" in shell("plugins")[1]


def test_a_command_of_a_plugin_runs(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(name: str) -> None:
        """Greet."""
        typer.echo(f"hello {name}")

    def add(app: typer.Typer) -> None:
        app.command("greet")(greet)

    plugin = host.Plugin("mine", "mine 1.0", add_commands=add)
    monkeypatch.setattr(host, "installed", lambda *, components=True: [plugin])
    assert shell("greet", "you") == (0, "hello you\n", "")
    assert "no command 'gret'; did you mean 'greet'?" in shell("gret")[2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list", "decodr"], "no kind 'decodr'; did you mean 'decoder'? known: "),
        (["show", "decoder", "beem"], "no decoder 'beem'; did you mean 'beam'? known: "),
        (["show", "decodr", "beam"], "no kind 'decodr'; did you mean 'decoder'? known: "),
        (["check", "decoder", "greddy"], "no decoder 'greddy'; did you mean 'greedy'? known: "),
        (["check", "decodr", "beam"], "no kind 'decodr'; did you mean 'decoder'? known: "),
    ],
    ids=" ".join,
)
def test_an_unknown_name_gets_its_nearest_match(
    shell: Shell, words: list[str], sentence: str
) -> None:
    status, out, err = shell(*words)
    assert (status, out) == (2, "")
    assert err.startswith(f"prefixcap: {sentence}")
    assert err.count("\n") == 1


def test_check_runs_the_conformance_kit(shell: Shell) -> None:
    status, out, _ = shell("check", "decoder", "greedy")
    assert status == 0
    assert re.fullmatch(r"(\d+) of \d+ rules hold, 1 skipped", out.splitlines()[-1])
