"""Sound and wrong configs of every kind: light, as a plugin's `__init__.py` is."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

import attrs

from prefixcap import kinds
from prefixcap.kinds import MapperShape


def part(module: str, name: str) -> Any:
    return getattr(import_module(f"mutants.{module}"), name)


@attrs.frozen(kw_only=True)
class TwistedDecoder(kinds.DecoderConfig):
    """A sampler.

    Attributes:
        twist: what is wrong with it; "" for a sound one.
        n: how many captions an image.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""
    n: int = 2

    def build(self) -> kinds.Decoder:
        return part("decoder_parts", "Twisted")(self.twist, self.n)


@attrs.frozen(kw_only=True)
class TwistedMapper(kinds.MapperConfig):
    """A linear mapper.

    Attributes:
        twist: what is wrong with it; "" for a sound one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self, shape: MapperShape) -> Any:
        return part("mapper_parts", "Twisted")(self.twist, shape)


@attrs.frozen(kw_only=True)
class TwistedLM(kinds.LMConfig):
    """A GPT-2 of one layer with letters for tokens.

    Attributes:
        twist: what is wrong with it; "" for a sound one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self, device: str = "cpu", dtype: str = "float32") -> kinds.LanguageModel:
        return part("lm_parts", "build")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedEncoder(kinds.EncoderConfig):
    """An image made very small.

    Attributes:
        twist: what is wrong with it; "" for a sound one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self, device: str = "cpu") -> kinds.Encoder:
        return part("other_parts", "TwistedEncoder")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedDataset(kinds.DatasetConfig):
    """Six plain images.

    Attributes:
        twist: what is wrong with it; "" for a sound one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self) -> kinds.Dataset:
        return part("other_parts", "TwistedDataset")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedMetric(kinds.MetricConfig):
    """The share of a prediction's words that stand in a reference.

    Attributes:
        twist: what is wrong with it; "" for a sound one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self) -> kinds.Metric:
        return part("other_parts", "TwistedMetric")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedTuning(kinds.TuningConfig):
    """Trains the last layer norm alone.

    Attributes:
        twist: what is wrong with it; "" for a sound one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self) -> kinds.Tuning:
        return part("other_parts", "TwistedTuning")(self.twist)


# ------------------------------------------------------- configs that are wrong themselves


class Thawed(TwistedDecoder):
    """Can be changed."""

    __setattr__ = object.__setattr__  # type: ignore[assignment]


@attrs.frozen(kw_only=True)
class Misnamed(TwistedDecoder):
    """Has a name that no spec can hold."""

    name: ClassVar[str] = "mis:named"


@attrs.frozen(kw_only=True, eq=False)
class Unequal(TwistedDecoder):
    """Is equal to itself alone."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def _at_most_one(_: object, attribute: Any, value: int) -> None:
    if value > 1:
        raise ValueError(f"{attribute.name} must be at most 1, not {value}")


@attrs.frozen(kw_only=True)
class WrongDefault(TwistedDecoder):
    """Has a default that its own validator refuses.

    Attributes:
        few: at most 1.
    """

    few: int = attrs.field(default=2, validator=_at_most_one)


@attrs.frozen(kw_only=True)
class Doubling(TwistedDecoder):
    """Doubles a setting each time it is made.

    Attributes:
        scale: comes back twice as large.
    """

    scale: float = attrs.field(default=1.0, converter=lambda value: 2 * value)


@attrs.frozen(kw_only=True)
class Undocumented(TwistedDecoder):
    """Says nothing of its new setting."""

    secret: int = 1


@attrs.frozen(kw_only=True)
class Worded(TwistedDecoder):
    """Has words that may hold a comma, which ends a setting in a spec.

    Attributes:
        words: any text.
    """

    words: str = ""
