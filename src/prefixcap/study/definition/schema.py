"""How the fields of `Study` are described: their options, defaults and checks."""

from __future__ import annotations

from typing import Any

import attrs

from prefixcap.errors import PrefixcapError, nearest


@attrs.frozen
class Option:
    """How the shell and a study file give a field of `Study`.

    Attributes:
        name: The key in a study file; the shell writes it `--name`, with hyphens.
        help: The help text.
        many: Whether it takes several values, each a cell of the grid.
        aliases: Other names in the shell, such as "--prefix-length".
        changes_results: Whether results depend on it; otherwise it is only how they are computed
            or shown.
    """

    name: str
    help: str
    many: bool = False
    aliases: tuple[str, ...] = ()
    changes_results: bool = True

    @property
    def flag(self) -> str:
        """The option in the shell, such as "--prefix-len"."""
        return f"--{self.name.replace('_', '-')}"


def option(name: str, text: str, **more: Any) -> Any:
    """Return a field's metadata; the arguments are those of `Option`."""
    return {"option": Option(name, text, **more)}


def recommended(kind: str, default: str) -> Any:
    """Return a field's default: the component that the data set recommends, or else `default`."""
    return attrs.Factory(
        lambda study: study.dataset.recommended.get(kind, default), takes_self=True
    )


def option_of(attribute: attrs.Attribute[Any]) -> Option | None:
    """Return the option that gives a field of `Study`; None for a field without one."""
    return attribute.metadata.get("option")


def nonempty(_: Any, attribute: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    """Validate that a field has a value."""
    if not value:
        raise PrefixcapError(f"a study needs at least one of its {attribute.name}")


def at_least(minimum: int) -> Any:
    """Return a validator of a number, or of several, that names the option."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and number < minimum:
                flag = attribute.metadata["option"].flag
                raise PrefixcapError(f"{flag} must be at least {minimum}, not {number}")

    return check


def one_of(choices: tuple[str, ...]) -> Any:
    """Return a validator of one of a few words that names the option."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
        if value not in choices:
            raise PrefixcapError(f"--{attribute.name} cannot be {value!r}{nearest(value, choices)}")

    return check
