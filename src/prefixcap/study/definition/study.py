"""A study: configs whose product is run, as Python, as JSON and as points of a grid."""

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
from prefixcap.training.config import TrainingConfig
from prefixcap.util.runtime import DTYPES

if TYPE_CHECKING:
    from prefixcap.plugin.registry import Registry

FORMAT = 1
HOLM = "holm"
CORRECTIONS = (HOLM, "benjamini-hochberg")
_LATER = ("correction", "encode_batch", "max_rows")
"""What studies of early versions do not say; nothing that is kept depends on it."""


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
        """What its folder's name begins with."""
        return f"{self.mapper.name}-p{self.prefix_length}-{self.tuning.name}-s{self.seed}"


def _some(_: Any, attribute: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    if not value:
        raise PrefixcapError(f"a study needs at least one of its {attribute.name}")


def _positive(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    values = value if isinstance(value, tuple) else (value,)
    for number in values:
        if number is not None and number < 1:
            raise PrefixcapError(f"{attribute.name} must be at least 1, not {number}")


def _dtype(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if value not in DTYPES:
        raise PrefixcapError(f"--{attribute.name} cannot be {value!r}{nearest(value, DTYPES)}")


def _correction(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if value not in CORRECTIONS:
        raise PrefixcapError(f"--{attribute.name} cannot be {value!r}{nearest(value, CORRECTIONS)}")


@attrs.frozen(kw_only=True)
class Study:
    """The product of its configs, on one data set.

    Attributes:
        dataset: the data set; `train` is trained on, `val` stops the training, `test` is captioned.
        encoders: the image encoders.
        lms: the language models.
        mappers: the mappers.
        prefix_lengths: the values of P.
        tunings: what is trained of the language model.
        decoders: the decoders; another one costs only its decoding.
        metrics: the metrics; another one costs only its scoring.
        seeds: of the training and the decoding.
        training: how mappers are trained.
        limit: at most so many images of each split.
        max_new_tokens: the most tokens a caption may have.
        dtype: of the language model.
        device: where everything runs.
        skip_unreadable: whether to go on without images that cannot be read.
        baselines: whether captions that need no model are scored beside.
        correction: of p-values, for many comparisons; for its tables.
        encode_batch: how many images are encoded at once.
        max_rows: the most hypotheses that are extended at once.
        labels: how configs are called in tables, by their digests; their specs unless given.
    """

    dataset: DatasetConfig
    encoders: tuple[EncoderConfig, ...] = attrs.field(validator=_some)
    lms: tuple[LMConfig, ...] = attrs.field(validator=_some)
    mappers: tuple[MapperConfig, ...] = attrs.field(validator=_some)
    prefix_lengths: tuple[int, ...] = attrs.field(
        default=(10,), validator=attrs.validators.and_(_some, _positive)
    )
    tunings: tuple[TuningConfig, ...] = attrs.field(validator=_some)
    decoders: tuple[DecoderConfig, ...] = attrs.field(validator=_some)
    metrics: tuple[MetricConfig, ...] = attrs.field(validator=_some)
    seeds: tuple[int, ...] = attrs.field(default=(0,), validator=_some)
    training: TrainingConfig = attrs.field(factory=TrainingConfig)
    limit: int | None = attrs.field(default=None, validator=_positive)
    max_new_tokens: int = attrs.field(default=40, validator=_positive)
    dtype: str = attrs.field(default="float32", validator=_dtype)
    device: str = "auto"
    skip_unreadable: bool = False
    baselines: bool = True
    correction: str = attrs.field(default=HOLM, validator=_correction)
    encode_batch: int = attrs.field(default=ENCODE_BATCH, validator=_positive)
    max_rows: int = attrs.field(default=DEFAULT_ROWS, validator=_positive)
    labels: Mapping[str, str] = attrs.field(factory=dict, eq=False)

    def models(self, encoder: EncoderConfig, lm: LMConfig) -> list[Model]:
        """Returns the captioners to train with an encoder and a language model."""
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
        """How many cells the grid has."""
        sizes = (self.encoders, self.lms, self.mappers, self.prefix_lengths, self.tunings)
        count = len(self.seeds) * len(self.decoders)
        for values in sizes:
            count *= len(values)
        return count

    def label(self, config: Component) -> str:
        """Returns how a config is called in tables: as it was asked for."""
        return self.labels.get(specs.digest(config), specs.to_spec(config))

    def to_json(self) -> dict[str, Any]:
        """Returns the whole study as JSON data."""
        configs = ("encoders", "lms", "mappers", "tunings", "decoders", "metrics")
        return {
            "format": FORMAT,
            "kind": "study",
            "dataset": specs.to_json(self.dataset),
            **{key: [specs.to_json(config) for config in getattr(self, key)] for key in configs},
            "prefix_lengths": list(self.prefix_lengths),
            "seeds": list(self.seeds),
            "training": self.training.to_json(),
            "limit": self.limit,
            "max_new_tokens": self.max_new_tokens,
            "dtype": self.dtype,
            "device": self.device,
            "skip_unreadable": self.skip_unreadable,
            "baselines": self.baselines,
            **{key: getattr(self, key) for key in _LATER},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], registry: Registry | None = None) -> Study:
        """Makes a study of what `to_json` gave; what else stands there is not looked at.

        Raises:
            PrefixcapError: a component is not known, or a setting is not.
        """
        from prefixcap.plugin.registry import default_registry

        known = registry or default_registry()
        kinds: dict[str, type[Component]] = {
            "encoders": EncoderConfig,
            "lms": LMConfig,
            "mappers": MapperConfig,
            "tunings": TuningConfig,
            "decoders": DecoderConfig,
            "metrics": MetricConfig,
        }
        configs: dict[str, Any] = {
            key: tuple(known.from_json(base, each) for each in data[key])
            for key, base in kinds.items()
        }
        later = {key: data[key] for key in _LATER if key in data}
        plain = ("limit", "max_new_tokens", "dtype", "device", "skip_unreadable", "baselines")
        return cls(
            dataset=known.from_json(DatasetConfig, data["dataset"]),
            prefix_lengths=tuple(data["prefix_lengths"]),
            seeds=tuple(data["seeds"]),
            training=TrainingConfig.from_json(data["training"]),
            **configs,
            **{key: data[key] for key in plain},
            **later,
        )
