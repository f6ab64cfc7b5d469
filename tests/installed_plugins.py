"""Plugins as distributions on a real path."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

from prefixcap.plugin import host
from prefixcap.plugin.registry import default_registry


def install(site: Path, name: str, source: str, points: str = "") -> None:
    """Put a distribution with one plugin on the path, like an installer.

    In `points`, the text of its `entry_points.txt`, "plugin_PLACE" stands for the plugin's module.
    """
    module = f"plugin_{name.replace('-', '_')}"
    (site / f"{module}.py").write_text(dedent(source), encoding="utf-8")
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    listed = points.replace("plugin_PLACE", module) or f"[prefixcap]\n{name} = {module}\n"
    (info / "entry_points.txt").write_bytes(listed.encode("utf-8", "surrogateescape"))


def forget() -> None:
    """Let the next command load plugins again."""
    default_registry.cache_clear()
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


def plugin(name: str = "bad") -> host.Plugin:
    """Load the installed plugins, and return that of a distribution."""
    (actual,) = (plugin for plugin in host.installed() if plugin.distribution == f"{name} 1.0")
    return actual
