"""Sends events to plugins and to chosen trackers, none of which can end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.events import Event, Tracker, TrackerConfig
from prefixcap.plugin import specs
from prefixcap.plugin.building import place_of
from prefixcap.plugin.contained import explained
from prefixcap.plugin.host import Plugin
from prefixcap.plugin.registry import default_registry
from prefixcap.util.process.interrupts import interrupted


@attrs.define
class Events:
    """The listeners of a run; one that fails is reported once, and gets no more events.

    Attributes:
        listeners: Each one's name and its function.
        report: Called with the sentence about a failure.
    """

    listeners: list[tuple[str, Callable[[Event], None]]] = attrs.field(factory=list)
    report: Callable[[str], None] = lambda _: None

    def send(self, event: Event) -> None:
        """Send an event to every listener.

        Raises:
            KeyboardInterrupt: If the user pressed Ctrl-C meanwhile.
        """
        for name, listen in list(self.listeners):
            if problem := _failure(lambda listen=listen: listen(event)):  # type: ignore[misc]
                self.listeners.remove((name, listen))
                kind = type(event).__name__
                self.report(f"{name} failed on {kind}: {problem}; it gets no more events")


@contextmanager
def listening(
    trackers: Sequence[TrackerConfig], folder: Path, report: Callable[[str], None]
) -> Iterator[Events]:
    """Build trackers; yield what sends events to them and to the plugins, and close them."""
    built: list[tuple[str, Tracker]] = []
    for config in trackers:
        built.append((f"the tracker {config.name!r}", config.build(folder)))
    plugins = default_registry().plugins
    listeners = [(f"the plugin {p}", p.on_event) for p in plugins if p.on_event is not None]
    events = Events([*listeners, *((name, each.on_event) for name, each in built)], report)
    try:
        yield events
    finally:
        for name, tracker in built:
            if problem := _failure(tracker.close):
                report(f"{name} failed at the end: {problem}")


def parse_trackers(texts: Iterable[str]) -> list[TrackerConfig]:
    """Return the trackers that specs such as `wandb:project=mine` name.

    Raises:
        PrefixcapError: If a tracker or a setting is unknown, or more than one plugin has it.
    """
    return [_parsed(text) for text in dict.fromkeys(texts)]


def _parsed(text: str) -> TrackerConfig:
    owners: dict[str, list[tuple[Plugin, type[TrackerConfig]]]] = {}
    for plugin in default_registry().plugins:
        for each in plugin.trackers:
            owners.setdefault(each.name, []).append((plugin, each))
    name, settings = specs.split(text)
    claims = sorted(owners.get(name, []), key=lambda claim: not claim[0].is_built_in)
    if not claims:
        raise PrefixcapError(f"--tracker: no tracker {name!r}{nearest(name, owners)}")
    if len(claims) > 1 and not claims[0][0].is_built_in:
        names = " and ".join(str(plugin) for plugin, _ in claims)
        raise PrefixcapError(f"--tracker: more than one plugin has {name!r}: {names}")
    place = f"--tracker {text!r}"
    return specs.structure(claims[0][1], settings, place)  # type: ignore[type-var]


def _failure(call: Callable[[], None]) -> str:
    """Call a listener; return how it failed, or ""."""
    try:
        call()
    except BaseException as error:  # a plugin can fail in any way
        if interrupted():
            raise
        return f"{explained(error)}{place_of(error)}"
    return ""
