"""Plugins that misbehave, as distributions on a real path: contained, and named by `plugins`."""

from __future__ import annotations

import gc
import json
import locale
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import attrs
import pytest
from installed_plugins import forget, install, plugin

from prefixcap.cli import main
from prefixcap.plugin import host
from prefixcap.plugin.registry import Registry, default_registry

HOOK = "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_components(): "
CONFIG = """
from __future__ import annotations
from pathlib import Path
from typing import Any, ClassVar, Literal
import attrs
from prefixcap import DecoderConfig, hookimpl

@attrs.frozen(kw_only=True)
class Good(DecoderConfig):
    name: ClassVar[str] = "bad-good"
    def build(self):
        raise NotImplementedError

@hookimpl
def prefixcap_components():
    return [Good]
"""


def config(old: str, new: str) -> str:
    assert old in CONFIG
    return CONFIG.replace(old, new)


def first(code: str) -> str:
    """Return a module that begins with some code."""
    return config("from pathlib", f"{code}\nfrom pathlib")


def in_hook(code: str) -> str:
    """Return a module with some code in its hook."""
    return config("    return", f"    {code}\n    return")


def named(name: object) -> str:
    return config('"bad-good"', repr(name))


def typed(type_: str) -> str:
    return config("    def build", f"    size: {type_} = None\n    def build")


def broad_filters() -> list[str]:
    """Return the filters that are not of single messages, and not of a library's categories."""
    each = [f for f in warnings.filters if f[1] is None and f[2].__module__ == "builtins"]
    return [repr(f) for f in each]


SILENT = "class E(Exception):\n    def __str__(self): raise ValueError\n"
# a module's source, and a part of its error
BROKEN = {
    # at import
    "exit": ("import sys; sys.exit('bye')", "SystemExit: bye (it called sys.exit)"),
    "exit-0": ("import sys; sys.exit(0)", "SystemExit: 0"),
    "quit": ("quit()", "SystemExit"),
    "interrupt": ("raise KeyboardInterrupt", "failed: KeyboardInterrupt"),
    "base": ("raise BaseException('no')", "BaseException: no"),
    "generator-exit": ("raise GeneratorExit", "GeneratorExit"),
    "own-base": ("class Own(BaseException): pass\nraise Own('x')", "Own: x"),
    "group": ("raise BaseExceptionGroup('two', [SystemExit(1), KeyError(2)])", "two"),
    "silent": (f"{SILENT}raise E('text')", "E: E('text')"),
    "mute": (f"{SILENT}    __repr__ = __str__\nraise E", "E, whose text cannot be shown"),
    "no-text": (f"{SILENT}    def __str__(self): return 3\nraise E", "E: E()"),
    "long": ("raise ValueError('x' * 10**6)", "ValueError: xxx"),
    "lines": ("raise ValueError('a\\n\\nb')", "ValueError: a b"),
    "recursion": ("def f(): f()\nf()", "RecursionError"),
    "memory": ("raise MemoryError", "MemoryError"),
    "syntax": ("def f(:", "SyntaxError"),
    "nul": ("x = '\0'", "failed: "),
    "missing": ("import no_such_library", "No module named 'no_such_library'"),
    "interface": ("from prefixcap import NoSuchName", "ImportError"),
    # in the hook
    "hook-exit": (f"{HOOK}raise SystemExit(1)", "SystemExit: 1"),
    "hook-interrupt": (f"{HOOK}raise KeyboardInterrupt", "KeyboardInterrupt"),
    "hook-base": (f"{HOOK}raise BaseException", "BaseException"),
    "hook-silent": (f"{SILENT}{HOOK}raise E('text')", "E: E('text')"),
    "hook-yields-exit": (f"{HOOK}yield exit()", "SystemExit"),
    "hook-recursion": (f"{HOOK}return prefixcap_components()", "RecursionError"),
    "none": (f"{HOOK}return [None]", "None is not a config class"),
    "text": (f"{HOOK}return 'beam'", "'b' is not a config class"),
    "number": (f"{HOOK}return 3", "TypeError"),
    "misspelled": (
        "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_x(): ...",
        "prefixcap_x",
    ),
    "no-hook": ("", "it implements no hook"),
    "endless": (
        config("return [Good]", "import itertools; return itertools.repeat(Good)"),
        "returns more than 1000 components",
    ),
    "endless-new": (
        config("    return [Good]", "    while True: yield type('Any', (Good,), {})"),
        "returns more than 1000 components",
    ),
    "odd-iterable": (
        config("return [Good]", "return type('I', (), {'__iter__': lambda s: exit()})()"),
        "SystemExit",
    ),
    # config classes
    "no-build": (config("    def build", "    def bild"), "Good does not implement build()"),
    "no-name": (config('name: ClassVar[str] = "bad-good"', "pass"), "Good has no name"),
    "empty-name": (named(""), "Good has the name ''"),
    "path-name": (named("../up"), "Good has the name '../up', which cannot be written in specs"),
    "space-name": (named("my decoder"), "Good has the name 'my decoder'"),
    "control-name": (named("a\x1b[31m\n"), r"Good has the name 'a\x1b[31m\n'"),
    "nul-name": (named("a\0b"), "Good has the name"),
    "comma-name": (named("a,b:c=d"), "Good has the name 'a,b:c=d'"),
    "dot-name": (named("."), "Good has the name '.'"),
    "accent-name": (named("é"), "Good has the name 'é'"),
    "long-name": (named("a" * 300), "Good has a name of 300 letters; 64 are allowed"),
    "number-name": (named(3), "Good has no name"),
    "field-name": (config("name: ClassVar[str]", "name: str"), "Good has no name"),
    "kind": (config("name:", 'kind = "decodr"\n    name:'), "the kind 'decodr'"),
    "version": (config("name:", "version = 2\n    name:"), "the version 2, which must be a text"),
    "not-attrs": (config("@attrs.frozen(kw_only=True)", ""), "Good is not an attrs.frozen class"),
    "two-classes": (
        config(
            "return [Good]", "return [Good, attrs.make_class('G', {}, bases=(Good,), frozen=1)]"
        ),
        "Good and G both have the name 'bad-good'",
    ),
    "any": (typed("Any"), "the setting 'size' of Good has the type Any, which cannot be written"),
    "dict": (typed("dict[str, int]"), "has the type dict[str, int]"),
    "list": (typed("list[int] | None"), "has the type list[int] | None"),
    "pair": (typed("tuple[int, int]"), "has the type tuple[int, int]"),
    "callable": (typed("Callable"), "the types of Good's settings cannot be read: NameError"),
    "untyped": (config("kw_only=True", "these={'size': attrs.field(default=1)}"), "the type none"),
}
SOUND = {
    "int-float": typed("int | float"),
    "int-str": typed("int | str | None"),
    "float-none": typed("None | float"),
    "literal": typed("Literal['a', 'b'] | None"),
    "path": typed("Path | None"),
    "many": typed("tuple[int | str, ...] | bool"),
    "twice": config("return [Good]", "return [Good, Good]"),
    "generator": config("    return [Good]", "    yield Good"),
    "define": config("@attrs.frozen(kw_only=True)", "@attrs.define(kw_only=True)"),
    "imports": first("import numpy, matplotlib, PIL.Image"),
    "inner-exit": first("try: exit()\nexcept SystemExit: pass"),
}
CHANGES = {
    "directory": ("import os; os.chdir('/')", "the working directory", os.getcwd),
    "environment": (
        "import os; os.environ['HF_HUB_OFFLINE'] = 'bad'; os.environ.pop('PATH')",
        "environment variables",
        lambda: dict(os.environ),
    ),
    "recursion": (
        "import sys; sys.setrecursionlimit(12345)",
        "the recursion limit",
        sys.getrecursionlimit,
    ),
    "handlers": (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(15, print)",
        "signal handlers",
        lambda: [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
    ),
    "warnings": (
        "import warnings; warnings.simplefilter('ignore')",
        "the filters of warnings",
        broad_filters,
    ),
    "no-warnings": (
        "import warnings; warnings.resetwarnings()",
        "the filters of warnings",
        broad_filters,
    ),
    "locale": (
        "import locale; locale.setlocale(locale.LC_NUMERIC, 'C.UTF-8')",
        "the locale",
        lambda: locale.setlocale(locale.LC_ALL),
    ),
    "collector": ("import gc; gc.disable()", "the garbage collector", gc.isenabled),
    "random": ("import random; random.seed(20_151)", "Python's random state", random.getstate),
    "stderr": ("import sys; sys.stderr = None", "sys.stderr", lambda: sys.stderr),
    "excepthook": ("import sys; sys.excepthook = 3", "sys.excepthook", lambda: sys.excepthook),
    "dtype": (
        "import torch; torch.set_default_dtype(torch.float64)",
        "torch's default dtype",
        lambda: sys.modules["torch"].get_default_dtype(),
    ),
    "grad": (
        "import torch; torch.set_grad_enabled(False)",
        "torch's gradient mode",
        lambda: sys.modules["torch"].is_grad_enabled(),
    ),
    "torch-seed": (
        "import torch; torch.manual_seed(20_151)",
        "torch's random state",
        lambda: sys.modules["torch"].get_rng_state().tolist(),
    ),
    "numpy-seed": (
        "import numpy; numpy.random.seed(20_151)",
        "NumPy's random state",
        lambda: repr(sys.modules["numpy"].random.get_state()),
    ),
}


PRINTS = {
    "print": "print('hello')",
    "descriptor": "import os; os.write(1, b'hello')",
    "child": "import os; os.system('echo hello')",
    "closes": "import sys; print('hello'); sys.stdout.close()",
    "replaces": "import sys; sys.stdout = sys.stderr; print('hello')",
}
POINTS = {
    "garbage": ("[prefixcap]\ngarbage\n", "the line 'garbage' is not of the form name = module"),
    "after": ("[prefixcap]\nbad = plugin_PLACE\nmore garbage\n", "the line 'more garbage' is not"),
    "bytes": ("[prefixcap]\nbad = plugin_\udcff\n", "its entry_points.txt cannot be read: "),
    "no-module": ("[prefixcap]\nbad = \n", "importing  failed: "),
    "two-words": ("[prefixcap]\nbad = a module\n", "importing a module failed: "),
    "no-attribute": ("[prefixcap]\nbad = plugin_PLACE:nothing\n", "AttributeError"),
    "no-file": ("[prefixcap]\nbad = plugin_none\n", "No module named 'plugin_none'"),
}


@attrs.frozen
class Crowd:
    """All of them, installed together and loaded once in this process."""

    site: Path
    plugins: dict[str, host.Plugin]
    before: dict[str, object]
    after: dict[str, object]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    site = tmp_path_factory.mktemp("site")
    for name, (source, _) in BROKEN.items():
        install(site, f"broken-{name}", source)
    for name, source in SOUND.items():
        install(site, f"sound-{name}", source.replace("bad-good", f"sound-{name}"))
    for name, (code, _, _) in CHANGES.items():
        install(site, f"import-{name}", first(code).replace("bad-good", f"import-{name}"))
        install(site, f"hook-{name}", in_hook(code).replace("bad-good", f"hook-{name}"))
    for name, code in PRINTS.items():
        install(site, f"prints-{name}", first(code).replace("bad-good", f"prints-{name}"))
        install(site, f"says-{name}", in_hook(code).replace("bad-good", f"says-{name}"))
    for name, (points, _) in POINTS.items():
        install(site, f"points-{name}", CONFIG, points)
    install(site, "zz", config('"bad-good"', '"zz-good"'))
    forget()
    reads = {name: read for name, (_, _, read) in CHANGES.items() if not of_library(name)}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")  # as the host does
        before = {name: read() for name, read in reads.items()}
        plugins = {plugin.distribution.partition(" ")[0]: plugin for plugin in host.installed()}
        after = {name: read() for name, read in reads.items()}
    forget()
    return Crowd(site, plugins, before, after)


def of_library(name: str) -> bool:
    return any(f"import {library}" in CHANGES[name][0] for library in ("torch", "numpy"))


def test_the_cases_are_many(crowd: Crowd) -> None:
    assert len(BROKEN) + len(POINTS) + 2 * len(CHANGES) + 2 * len(PRINTS) + len(SOUND) >= 100
    assert len(crowd.plugins) > 100
    assert [component.name for component in crowd.plugins["zz"].components] == ["zz-good"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_named(crowd: Crowd, name: str) -> None:
    broken = crowd.plugins[f"broken-{name}"]
    assert BROKEN[name][1] in broken.error
    assert "\n" not in broken.error
    assert len(broken.error) < 1200
    assert broken.components == ()


@pytest.mark.parametrize("name", POINTS)
def test_an_unreadable_entry_point_is_named(crowd: Crowd, name: str) -> None:
    assert POINTS[name][1] in crowd.plugins[f"points-{name}"].error


@pytest.mark.parametrize("name", SOUND)
def test_an_unusual_plugin_is_used(crowd: Crowd, name: str) -> None:
    sound = crowd.plugins[f"sound-{name}"]
    assert (sound.error, sound.problems) == ("", ())
    assert [component.name for component in sound.components] == [f"sound-{name}"]


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("where", ["import", "hook"])
def test_changed_global_state_is_named(crowd: Crowd, name: str, where: str) -> None:
    changing = crowd.plugins[f"{where}-{name}"]
    assert changing.problems == (f"it changed {CHANGES[name][1]}; this was undone",)
    assert [component.name for component in changing.components] == [f"{where}-{name}"]


@pytest.mark.parametrize("name", [name for name in CHANGES if not of_library(name)])
def test_changed_global_state_is_undone(crowd: Crowd, name: str) -> None:
    assert crowd.after[name] == crowd.before[name]


@pytest.mark.parametrize("name", [name for name in CHANGES if of_library(name)])
def test_changed_state_of_an_imported_library_is_undone(site: Path, name: str) -> None:
    code, changed, read = CHANGES[name]
    exec(code.partition(";")[0])  # the import alone
    before = read()
    install(site, "bad", first(code))
    assert plugin().problems == (f"it changed {changed}; this was undone",)
    assert read() == before


def test_the_shell_works_among_all_of_them(crowd: Crowd) -> None:
    path = os.pathsep.join([str(crowd.site), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", "from prefixcap.cli import main; exit(main())", "plugins", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0
    rows = {row["distribution"].partition(" ")[0]: row for row in json.loads(done.stdout)}
    assert rows.keys() == crowd.plugins.keys()
    different = [n for n, row in rows.items() if row["error"] != crowd.plugins[n].error]
    # addresses of objects differ, and torch is not imported before the first of them
    assert [n for n in different if " at 0x" not in rows[n]["error"]] == []
    assert done.stderr.count("hello") >= 2 * len(PRINTS)
    assert "Traceback" not in done.stderr


def test_printing_and_a_thread_that_never_ends_are_named(site: Path) -> None:
    wait = "import threading; go = threading.Event(); threading.Thread(target=go.wait).start()"
    install(site, "bad", first(f"print('hello'); {wait}"))
    try:
        assert plugin().problems == (
            "it printed to standard output, which belongs to results",
            "it started a thread that may keep the process from ending",
        )
    finally:
        sys.modules["plugin_bad"].go.set()


def test_garbage_of_another_program_is_not_mentioned(site: Path) -> None:
    install(site, "other", "", "[console_scripts]\ngarbage\n")
    assert [p for p in host.installed() if p.error] == []


def test_a_distribution_without_metadata_is_named_as_unknown(site: Path) -> None:
    install(site, "bad", CONFIG)
    (site / "bad-1.0.dist-info" / "METADATA").unlink()
    assert "bad-good" in Registry().names("decoder")


CLAIM = config('"bad-good"', '"beam"')
REFUSED = "its decoder 'beam' is not used, as the built-in one of 'decoders' (prefixcap "


def test_a_built_in_component_wins_with_a_warning(
    site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    install(site, "bad", CLAIM)
    assert main(["show", "decoder", "beam", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["class"].startswith("prefixcap_decoders.")
    assert err.startswith(f"prefixcap: warning: the plugin 'bad' (bad 1.0): {REFUSED}")
    assert err.endswith(") has that name: rename it\n")
    assert err.count("\n") == 1
    assert main(["show", "decoder", "greedy"]) == 0
    assert capfd.readouterr().err == ""
    assert main(["plugins"]) == 0
    assert f"  warning: {REFUSED}" in capfd.readouterr().out


def test_a_class_named_like_a_built_in_one_does_not_hide_it(site: Path) -> None:
    install(site, "bad", CONFIG.replace("Good", "Beam"))
    assert Registry().class_named("Beam").__module__.startswith("prefixcap_decoders")


def test_a_class_may_be_registered_by_two_entry_points(site: Path) -> None:
    install(site, "bad", CONFIG, "[prefixcap]\nbad = plugin_bad\nworse = plugin_bad\n")
    registry = Registry()
    assert registry.config_class("decoder", "bad-good").__name__ == "Good"
    assert [registry.problems(plugin) for plugin in registry.plugins if plugin.name == "worse"] == [
        []
    ]


@pytest.mark.parametrize("names", ["bad", "Bad", "bad , zz", "a-b.c"])
def test_a_plugin_can_be_disabled(
    site: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], names: str
) -> None:
    name = "bad" if "bad" in names.lower() else "a_b_c"
    install(site, name, "import os; os._exit(3)")
    monkeypatch.setenv(host.DISABLE, names.replace("zz", "decodrs"))
    assert main(["plugins"]) == 0
    out, err = capfd.readouterr()
    assert f"{name} ({name} 1.0)\n  disabled by PREFIXCAP_DISABLE\n" in out
    wrong = "PREFIXCAP_DISABLE names no plugin or distribution 'decodrs'; did you mean 'decoders'?"
    assert (f"prefixcap: warning: {wrong}" in err) == ("zz" in names)


def test_a_component_of_a_disabled_plugin_is_explained(
    site: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(site, "bad", CONFIG)
    monkeypatch.setenv(host.DISABLE, "bad")
    assert main(["show", "decoder", "bad-good"]) == 2
    assert "bad (it is disabled by PREFIXCAP_DISABLE)" in capfd.readouterr().err
    assert main(["--strict-plugins", "list", "decoder"]) == 0


@pytest.mark.parametrize("words", [["--strict-plugins", "list"], ["list", "--strict-plugins"]])
def test_a_broken_plugin_is_an_error_if_asked_for(
    site: Path, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == 0
    default_registry.cache_clear()
    capfd.readouterr()
    install(site, "bad", "raise ValueError('at import')")
    assert main(words) == 2
    out, err = capfd.readouterr()
    failed = "importing plugin_bad failed: ValueError: at import"
    assert err == f"prefixcap: --strict-plugins: broken plugins: 'bad' (bad 1.0): {failed}\n"
    assert out == ""
    assert main(["list", "decoder"]) == 0
    assert f"warning: the plugin 'bad' (bad 1.0) is missing: {failed}" in capfd.readouterr().err


def test_a_traceback_is_shown_if_asked_for(
    site: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(site, "bad", "def at_import(): raise ValueError\nat_import()")
    monkeypatch.setenv("PREFIXCAP_TRACEBACK", "1")
    assert main(["plugins"]) == 0
    assert "in at_import" in capfd.readouterr().err


COMMANDS = "from prefixcap import hookimpl\n@hookimpl\ndef prefixcap_commands(app): "


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("raise SystemExit(0)", "adding its commands failed: SystemExit: 0 (it called sys.exit)"),
        ("raise KeyboardInterrupt", "adding its commands failed: KeyboardInterrupt"),
        ("print('hello')", "it printed to standard output, which belongs to results"),
        ("import os; os.chdir('/')", "it changed the working directory; this was undone"),
    ],
)
def test_a_hook_for_commands_is_contained_too(
    site: Path, capfd: pytest.CaptureFixture[str], body: str, error: str
) -> None:
    install(site, "bad", COMMANDS + body)
    folder = Path.cwd()
    for words in (["--help"], ["lst"]):
        main(words)
        assert f"warning: the plugin 'bad' (bad 1.0): {error}" in capfd.readouterr().err
    assert Path.cwd() == folder


@pytest.mark.parametrize("place", ["import", "hook"])
def test_a_real_interrupt_is_no_error_of_the_plugin(
    site: Path, capfd: pytest.CaptureFixture[str], place: str
) -> None:
    # a plugin that swallows it does not keep the command from stopping
    swallow = "import signal\ntry: signal.raise_signal(2)\nexcept KeyboardInterrupt: pass\n"
    send = "import signal; signal.raise_signal(2)"
    install(site, "bad", first(swallow) if place == "import" else in_hook(send))
    usual = signal.getsignal(signal.SIGINT)
    assert main(["list"]) == 130
    assert capfd.readouterr() == ("", "prefixcap: stopped\n")
    assert signal.getsignal(signal.SIGINT) is usual
    forget()
    with pytest.raises(KeyboardInterrupt):
        host.installed()


def test_plugins_load_in_another_thread(site: Path) -> None:
    install(site, "bad", CONFIG)
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(Registry().names("decoder")))
    thread.start()
    thread.join()
    assert "bad-good" in found
