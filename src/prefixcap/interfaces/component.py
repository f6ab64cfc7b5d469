"""A component is a frozen attrs config with a `name` and a `build()`."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import ClassVar

import attrs


@attrs.frozen(kw_only=True)
class Component(ABC):
    """The base of every config class; a kind's base class derives from it, and a plugin from that.

    Attributes:
        kind: what it is, such as "decoder"; set by the kind's base class.
        name: what it is called in the shell; set by each config class.
        version: changed whenever the same settings give other results, so that no artifact made
            by the older code is used again.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    version: ClassVar[str] = "1"

    def subcomponents(self) -> Sequence[Component]:
        """Returns the components that its settings name by their specs.

        Their versions count to what features, models, captions and scores were made by, and so do
        the weights of the encoders and language models that a decoder or a metric names.

        Raises:
            PrefixcapError: a spec among the settings is wrong.
        """
        return ()

    def external_digests(self) -> Sequence[str]:
        """Returns digests of what else its settings name, such as the files of a folder.

        They too count to what features, models, captions and scores were made by.

        Raises:
            PrefixcapError: it is not there.
        """
        return ()
