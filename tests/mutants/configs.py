"""Correct and wrong configs of every kind, without heavy imports."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import attrs

from prefixcap.interfaces import (
    bridge,
    dataset,
    decoder,
    encoder,
    language_model,
    mapper,
    metric,
    tuning,
)
from prefixcap.interfaces.launching.launcher import Launcher, LauncherConfig
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.retrieval import prompt, retriever


def part(module: str, name: str) -> Any:
    return getattr(import_module(f"mutants.{module}"), name)


@attrs.frozen(kw_only=True)
class TwistedDecoder(decoder.DecoderConfig):
    """A sampler.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
        n: The number of captions per image.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""
    n: int = 2

    def build(self) -> decoder.Decoder:
        return part("decoder_parts", "Twisted")(self.twist, self.n)


@attrs.frozen(kw_only=True)
class TwistedMapper(mapper.MapperConfig):
    """A linear mapper.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self, shape: MapperShape) -> Any:
        return part("mapper_parts", "Twisted")(self.twist, shape)


@attrs.frozen(kw_only=True)
class UnlearnedMapper(TwistedMapper):
    """A linear mapper that claims to learn nothing."""

    learns: ClassVar[bool] = False


@attrs.frozen(kw_only=True)
class TwistedLM(language_model.LMConfig):
    """A GPT-2 of one layer with letters as tokens.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self, device: str = "cpu", dtype: str = "float32") -> language_model.LanguageModel:
        return part("lm_parts", "build")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedEncoder(encoder.EncoderConfig):
    """An encoder that shrinks an image.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self, device: str = "cpu") -> encoder.Encoder:
        return part("other_parts", "TwistedEncoder")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedBridge(bridge.BridgeConfig):
    """A bridge that subtracts means.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self) -> bridge.Bridge:
        return part("bridge_parts", "TwistedBridge")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedDataset(dataset.DatasetConfig):
    """Six plain images.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self) -> dataset.Dataset:
        return part("other_parts", "TwistedDataset")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedMetric(metric.MetricConfig):
    """The share of a prediction's words that appear in a reference.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self) -> metric.Metric:
        resampled = self.twist.startswith("resamples")
        return part("other_parts", "ResampledMetric" if resampled else "TwistedMetric")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedTuning(tuning.TuningConfig):
    """Trains the last layer norm alone.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self) -> tuning.Tuning:
        return part("other_parts", "TwistedTuning")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedRetriever(retriever.RetrieverConfig):
    """Sorts all cosines.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self, vectors: Any) -> retriever.Retriever:
        return part("retrieval_parts", "TwistedRetriever")(self.twist, vectors)


@attrs.frozen(kw_only=True)
class TwistedLauncherConfig(LauncherConfig):
    """Does all works in this process.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    def build(self) -> Launcher:
        built: Launcher = part("launcher_parts", "TwistedLauncher")(self.twist)
        return built


@attrs.frozen(kw_only=True)
class TwistedFolding(TwistedTuning):
    """Trains factors of the last layer norm's output, and folds them into its weights."""

    folds: ClassVar[bool] = True

    def build(self) -> tuning.Tuning:
        return part("folding_parts", "TwistedFolding")(self.twist)


@attrs.frozen(kw_only=True)
class TwistedPrompt(prompt.PromptConfig):
    """The caption of the nearest other image.

    Attributes:
        twist: What is wrong with it; "" for a correct one.
    """

    name: ClassVar[str] = "twisted"
    twist: str = ""

    @property
    def length(self) -> int:
        return 40

    def learn(self, images: prompt.CaptionedImages) -> prompt.Datastore:
        return part("retrieval_parts", "learned")(self.twist, images)

    def build(self, datastore: prompt.Datastore) -> prompt.Prompter:
        return part("retrieval_parts", "TwistedPrompter")(self.twist, datastore)


# ------------------------------------------------------------- configs with correct declarations


class Together(TwistedDecoder):
    """Declares that captions depend on the batch."""

    def batch_dependent(self) -> bool:
        return True


class ErrorRate(TwistedMetric):
    """Declares that lower is better."""

    scales: ClassVar[Mapping[str, metric.Scale]] = {"share": metric.Scale(better="lower")}


class Seeing(TwistedMetric):
    """Declares that it requires the image."""

    requires: ClassVar[frozenset[str]] = frozenset({"image"})


@attrs.frozen(kw_only=True)
class Aliased(TwistedDecoder):
    """Has settings with aliases, documented in NumPy's style.

    Attributes
    ----------
    _sharpness : float
        Given as `sharpness`.
    """

    _sharpness: float
    _known: dict[str, int] = attrs.field(factory=dict, init=False, eq=False)


# ------------------------------------------------------- wrong configs


class NoDevice(TwistedEncoder):
    """Takes no device."""

    def build(self) -> encoder.Encoder:  # type: ignore[override]
        return TwistedEncoder.build(self)


class NoDtype(TwistedLM):
    """Takes a device, but no dtype."""

    def build(self, device: str = "cpu") -> language_model.LanguageModel:  # type: ignore[override]
        return TwistedLM.build(self, device)


class Misdeclared(TwistedMetric):
    """Declares that lower is better for an unknown value."""

    scales: ClassVar[Mapping[str, metric.Scale]] = {"loss": metric.Scale(better="lower")}


class Undeclared(TwistedTuning):
    """Declares that it trains nothing."""

    trains_lm: ClassVar[bool] = False


class SameSize(TwistedTuning):
    """Has a size that changes nothing."""

    def sized(self, size: int) -> tuning.TuningConfig:
        return self


class SameSizeMapper(TwistedMapper):
    """Has a size that changes nothing."""

    def sized(self, size: int) -> mapper.MapperConfig:
        return self


class BadCompany(TwistedDataset):
    """Recommends an unknown decoder."""

    recommended: ClassVar[Mapping[str, str]] = {"mapper": "mlp,linear", "decoder": "gredy"}


class Thawed(TwistedDecoder):
    """Can be changed."""

    __setattr__ = object.__setattr__  # type: ignore[assignment]


@attrs.frozen(kw_only=True)
class Misnamed(TwistedDecoder):
    """Has a name that cannot be written in a spec."""

    name: ClassVar[str] = "mis:named"


@attrs.frozen(kw_only=True, eq=False)
class Unequal(TwistedDecoder):
    """Is only equal to itself."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def _at_most_one(_: object, attribute: Any, value: int) -> None:
    if value > 1:
        raise ValueError(f"{attribute.name} must be at most 1, not {value}")


@attrs.frozen(kw_only=True)
class WrongDefault(TwistedDecoder):
    """Has a default that its own validator rejects.

    Attributes:
        few: At most 1.
    """

    few: int = attrs.field(default=2, validator=_at_most_one)


@attrs.frozen(kw_only=True)
class Doubling(TwistedDecoder):
    """Doubles a setting each time it is created.

    Attributes:
        scale: Doubled each time.
    """

    scale: float = attrs.field(default=1.0, converter=lambda value: 2 * value)


@attrs.frozen(kw_only=True)
class Undocumented(TwistedDecoder):
    """Does not document its new setting."""

    secret: int = 1


@attrs.frozen(kw_only=True)
class Worded(TwistedDecoder):
    """Has words that may contain a comma, which must be quoted in a spec.

    Attributes:
        words: Any text.
    """

    words: str = ""


@attrs.frozen(kw_only=True)
class Untyped(TwistedDecoder):
    """Has a setting of any type, so that a number written in a spec is read as text.

    Attributes:
        words: Anything.
    """

    words: Any = 3
