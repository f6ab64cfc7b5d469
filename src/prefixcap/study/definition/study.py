"""A study: the product of its configs on one data set.

`Study` is the schema. The metadata of its fields say what the shell and a study file call them,
their help texts, their defaults, and whether results depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.captioning.encode_images import ENCODE_BATCH
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.interfaces.decoder import DEFAULT_ROWS, DecoderConfig
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin import specs
from prefixcap.study.definition.convert import converter
from prefixcap.training.config import TrainingConfig
from prefixcap.util.runtime import DTYPES

if TYPE_CHECKING:
    from prefixcap.plugin.registry import Registry

FORMAT = 1
HOLM = "holm"
CORRECTIONS = (HOLM, "benjamini-hochberg")


@attrs.frozen
class Option:
    """How the shell and a study file give a field of `Study`.

    Attributes:
        name: The key in a study file; the shell writes it `--name`, with hyphens.
        help: The help text.
        default: What is used where neither the user nor the data set gives a value; None leaves
            it to the field's own default.
        many: Whether it takes several values, each a cell of the grid.
        aliases: Other names in the shell, such as "--prefix-length".
        changes_results: Whether results depend on it; otherwise it is only how they are computed
            or shown.
    """

    name: str
    help: str
    default: tuple[str, ...] | None = None
    many: bool = False
    aliases: tuple[str, ...] = ()
    changes_results: bool = True

    @property
    def flag(self) -> str:
        """The option in the shell, such as "--prefix-len"."""
        return f"--{self.name.replace('_', '-')}"


def _option(name: str, text: str, default: tuple[str, ...] | None = None, **more: Any) -> Any:
    return {"option": Option(name, text, default, **more)}


def _grid(name: str, text: str, *default: str, **more: Any) -> Any:
    return _option(name, text, default, many=True, **more)


def option_of(attribute: attrs.Attribute[Any]) -> Option | None:
    """Return the option that gives a field of `Study`; None for a field without one."""
    return attribute.metadata.get("option")


def _nonempty(_: Any, attribute: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    if not value:
        raise PrefixcapError(f"a study needs at least one of its {attribute.name}")


def _at_least(minimum: int) -> Any:
    def check(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and number < minimum:
                flag = attribute.metadata["option"].flag
                raise PrefixcapError(f"{flag} must be at least {minimum}, not {number}")

    return check


def _one_of(choices: tuple[str, ...]) -> Any:
    def check(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
        if value not in choices:
            raise PrefixcapError(f"--{attribute.name} cannot be {value!r}{nearest(value, choices)}")

    return check


@attrs.frozen(kw_only=True)
class Model:
    """One captioner to train: a point of the grid without its decoder."""

    encoder: EncoderConfig
    lm: LMConfig
    mapper: MapperConfig
    prefix_length: int
    tuning: TuningConfig
    seed: int

    @property
    def name(self) -> str:
        """The beginning of its folder's name."""
        return f"{self.mapper.name}-p{self.prefix_length}-{self.tuning.name}-s{self.seed}"


@attrs.frozen(kw_only=True)
class Study:
    """The product of its configs, on one data set: train on `train`, stop by `val`, test on `test`.

    Attributes:
        dataset: The data set.
        encoders: The image encoders.
        lms: The language models.
        mappers: The mappers.
        prefix_lengths: The values of P.
        tunings: What is trained of the language model.
        decoders: The decoders; another one costs only its decoding.
        metrics: The metrics; another one costs only its scoring.
        seeds: The seeds of training and decoding.
        training: How mappers are trained.
        limit: The most images of each split.
        max_new_tokens: The most tokens of a caption.
        dtype: The language model's dtype.
        device: The device that everything runs on.
        skip_unreadable: Whether to continue without images that cannot be read.
        baselines: Whether to score captions that need no model as well.
        correction: The correction of p-values for many comparisons.
        encode_batch: How many images are encoded at once.
        max_rows: The most hypotheses that are extended at once.
        labels: The names of configs in tables, by digest; their specs unless given.
    """

    dataset: DatasetConfig = attrs.field(
        metadata=_option("dataset", "Data set, such as jsonl:path=FOLDER.", ("scenes",))
    )
    encoders: tuple[EncoderConfig, ...] = attrs.field(
        metadata=_grid("encoder", "Image encoder, such as clip:model=ViT-B/32.", "clip"),
        validator=_nonempty,
    )
    lms: tuple[LMConfig, ...] = attrs.field(
        metadata=_grid("lm", "Language model, such as hf:model=gpt2.", "hf:model=gpt2"),
        validator=_nonempty,
    )
    mappers: tuple[MapperConfig, ...] = attrs.field(
        metadata=_grid("mapper", "Mapper, such as mlp.", "mlp"), validator=_nonempty
    )
    prefix_lengths: tuple[int, ...] = attrs.field(
        default=(10,),
        metadata=_grid("prefix_len", "Prefix length P.", "10", aliases=("--prefix-length",)),
        validator=[_nonempty, _at_least(1)],
    )
    tunings: tuple[TuningConfig, ...] = attrs.field(
        metadata=_grid("tuning", "What is trained of the language model: frozen, full.", "frozen"),
        validator=_nonempty,
    )
    decoders: tuple[DecoderConfig, ...] = attrs.field(
        metadata=_grid("decoder", "Decoder, such as beam:num_beams=5.", "beam"),
        validator=_nonempty,
    )
    metrics: tuple[MetricConfig, ...] = attrs.field(
        metadata=_grid(
            "metrics",
            "Metrics to score by, such as bleu,cider.",
            *("bleu", "meteor", "rouge", "cider", "length", "distinct"),
            changes_results=False,
        ),
        validator=_nonempty,
    )
    seeds: tuple[int, ...] = attrs.field(
        default=(0,),
        metadata=_grid("seed", "Seed of training and decoding.", "0"),
        validator=[_nonempty, _at_least(0)],
    )
    training: TrainingConfig = attrs.field(
        factory=TrainingConfig,
        metadata=_option("training", "Training settings, such as learning_rate=1e-3,patience=3."),
    )
    limit: int | None = attrs.field(
        default=None,
        metadata=_option("limit", "Use at most this many images of each split."),
        validator=_at_least(1),
    )
    max_new_tokens: int = attrs.field(
        default=40,
        metadata=_option("max_new_tokens", "The most tokens of a caption."),
        validator=_at_least(1),
    )
    dtype: str = attrs.field(
        default="float32",
        metadata=_option("dtype", "The language model's dtype: float32, bfloat16 or float16."),
        validator=_one_of(DTYPES),
    )
    device: str = attrs.field(
        default="auto", metadata=_option("device", "Device: auto, cpu, cuda, cuda:1, ...")
    )
    skip_unreadable: bool = attrs.field(
        default=False,
        metadata=_option(
            "skip_unreadable", "Continue without unreadable images.", changes_results=False
        ),
    )
    baselines: bool = attrs.field(
        default=True,
        metadata=_option(
            "no_baselines", "Leave out captions that need no model.", changes_results=False
        ),
    )
    correction: str = attrs.field(
        default=HOLM,
        metadata=_option(
            "correction",
            "Correction for many comparisons: holm, or benjamini-hochberg for large grids. "
            "(default: holm, or what the study was run with)",
            changes_results=False,
        ),
        validator=_one_of(CORRECTIONS),
    )
    encode_batch: int = attrs.field(
        default=ENCODE_BATCH,
        metadata=_option(
            "encode_batch", "How many images are encoded at once.", changes_results=False
        ),
        validator=_at_least(1),
    )
    max_rows: int = attrs.field(
        default=DEFAULT_ROWS,
        metadata=_option(
            "max_rows",
            "The most hypotheses (beams, samples) that are extended at once.",
            changes_results=False,
        ),
        validator=_at_least(1),
    )
    labels: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)

    def __repr__(self) -> str:
        """Show the grid, as specs, and its number of cells."""
        grid = (
            f"{field.name}=[{', '.join(self._texts(getattr(self, field.name)))}]"
            for field in attrs.fields(Study)
            if (option := option_of(field)) is not None and option.many
        )
        return f"Study({self.label(self.dataset)}, {', '.join(grid)}, {self.cells} cells)"

    def _texts(self, values: tuple[object, ...]) -> list[str]:
        return [self.label(v) if isinstance(v, Component) else str(v) for v in values]

    def models(self, encoder: EncoderConfig, lm: LMConfig) -> list[Model]:
        """Return the captioners to train with an encoder and a language model."""
        return [
            Model(
                encoder=encoder,
                lm=lm,
                mapper=mapper,
                prefix_length=length,
                tuning=tuning,
                seed=seed,
            )
            for mapper in self.mappers
            for length in self.prefix_lengths
            for tuning in self.tunings
            for seed in self.seeds
        ]

    @property
    def cells(self) -> int:
        """The number of cells of the grid."""
        sizes = (self.encoders, self.lms, self.mappers, self.prefix_lengths, self.tunings)
        count = len(self.seeds) * len(self.decoders)
        for values in sizes:
            count *= len(values)
        return count

    def label(self, config: Component) -> str:
        """Return a config's name in tables: as the user wrote it, or its spec."""
        return self.labels.get(specs.digest(config), specs.to_spec(config))

    def to_json(self) -> dict[str, Any]:
        """Return the study as JSON data, without its labels."""
        return {"format": FORMAT, "kind": "study", **converter().unstructure(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], registry: Registry | None = None) -> Study:
        """Build a study from what `to_json` returned; other keys are ignored.

        Raises:
            PrefixcapError: If a component or a setting is unknown.
        """
        known = {field.name for field in attrs.fields(cls)} - {"labels"}
        values = {key: value for key, value in data.items() if key in known}
        study: Study = converter(registry).structure(values, cls)
        return study
