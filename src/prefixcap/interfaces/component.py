"""`Component`: the base of every config class; a plugin consists of such classes.

A component is a frozen attrs config with a `name` and a `build()`, which is the only place where
heavy libraries are imported.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs

LOCATION = "location"
PATH: Mapping[str, Any] = {LOCATION: "path"}
"""Metadata of a setting that is the path of weights or data, or a name such as a hub's.

It is for encoders, language models and data sets, whose digests cover the content. An existing path
is saved as an absolute one, so that a run can be used from any folder, and is not part of keys.
"""
PART: Mapping[str, Any] = {LOCATION: "part"}
"""Metadata of a setting that says which part of such a place is meant, or where copies are kept."""


@attrs.frozen(kw_only=True)
class Component(ABC):
    """The base of every config class, by way of one base class per kind.

    Attributes:
        kind: The kind, such as "decoder"; set by the kind's base class.
        name: The name in the shell; set by each config class.
        version: Must be changed whenever the same settings lead to other results, so that no
            study reuses artifacts of the older code.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    version: ClassVar[str] = "1"

    def subcomponents(self) -> Sequence[Component]:
        """Return the components that this config's settings name by their specs.

        Their versions, and the weights of encoders and language models among them, become part of
        the keys of a study's artifacts.

        Raises:
            PrefixcapError: If a spec among the settings is wrong.
        """
        return ()

    def external_digests(self) -> Sequence[str]:
        """Return digests of anything else that the settings name, such as the files of a folder.

        They become part of the keys of a study's artifacts.

        Raises:
            PrefixcapError: If something that is named does not exist.
        """
        return ()
