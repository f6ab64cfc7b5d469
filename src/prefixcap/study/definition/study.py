"""A study: the product of its configs on one data set.

`Study` is the schema. The metadata of its fields hold their names in the shell and in study files,
their help texts, their defaults, and whether results depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.captioning.encode_images import ENCODE_BATCH
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.bridge import BridgeConfig
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.interfaces.decoder import DEFAULT_ROWS, DecoderConfig
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.interfaces.retrieval.prompt import PromptConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry
from prefixcap.study.definition.schema import (
    Specs,
    at_least,
    components,
    converter,
    each_of,
    number_to_match,
    one_of,
    option,
    recommended,
    training_config,
    unique,
)
from prefixcap.training.config import TrainingConfig
from prefixcap.util.runtime import DTYPES

if TYPE_CHECKING:
    from prefixcap.plugin.registry import Registry

FORMAT = 3
HOLM = "holm"
CORRECTIONS = (HOLM, "benjamini-hochberg")
IMAGES, TEXTS = "images", "texts"
DATASET: Any = "scenes"
TRAINING: Any = ""
METRICS: Any = ("bleu", "meteor", "rouge", "cider", "length", "distinct")


@attrs.frozen(kw_only=True)
class Model:
    """One captioner to train: a point of the grid without its decoder.

    With a bridge it is trained on texts alone, without one on images.
    """

    encoder: EncoderConfig
    lm: LMConfig
    mapper: MapperConfig
    prefix_length: int
    tuning: TuningConfig
    prompt: PromptConfig
    seed: int
    bridge: BridgeConfig | None = None

    @property
    def train_on(self) -> str:
        """What it is trained on: images or texts."""
        return IMAGES if self.bridge is None else TEXTS

    @property
    def name(self) -> str:
        """The beginning of its folder's name."""
        parts = [self.mapper.name, f"p{self.prefix_length}", self.tuning.name]
        if self.bridge is not None:
            parts += [TEXTS, self.bridge.name]
        if self.prompt.length:
            parts.append(self.prompt.name)
        return "-".join([*parts, f"s{self.seed}"])


def _dataset(value: str | DatasetConfig) -> DatasetConfig:
    return default_registry().parse(DatasetConfig, value)


def _encoders(values: Specs[EncoderConfig]) -> tuple[EncoderConfig, ...]:
    return components(EncoderConfig, values)


def _bridges(values: Specs[BridgeConfig]) -> tuple[BridgeConfig, ...]:
    return components(BridgeConfig, values)


def _texts(values: str | Iterable[str]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else unique(values)


def _lms(values: Specs[LMConfig]) -> tuple[LMConfig, ...]:
    return components(LMConfig, values)


def _mappers(values: Specs[MapperConfig]) -> tuple[MapperConfig, ...]:
    return components(MapperConfig, values)


def _tunings(values: Specs[TuningConfig]) -> tuple[TuningConfig, ...]:
    return components(TuningConfig, values)


def _prompts(values: Specs[PromptConfig]) -> tuple[PromptConfig, ...]:
    return components(PromptConfig, values)


def _decoders(values: Specs[DecoderConfig]) -> tuple[DecoderConfig, ...]:
    return components(DecoderConfig, values)


def _metrics(values: Specs[MetricConfig]) -> tuple[MetricConfig, ...]:
    return components(MetricConfig, values)


def _integers(values: int | Iterable[int]) -> tuple[int, ...]:
    return (values,) if isinstance(values, int) else unique(values)


@attrs.frozen(kw_only=True)
class Study:
    """The product of its configs, on one data set.

    Components may be given as specs, such as `decoders=["greedy", "beam:num_beams=3"]`. Encoder,
    language model and each training setting default to those that the data set recommends.

    Attributes:
        dataset: The data set: `train` is trained on, `val` stops training, `test` is captioned.
        split: The split that is captioned and scored; by default `test`.
        encoders: The image encoders.
        lms: The language models.
        mappers: The mappers.
        prefix_lengths: The values of P.
        tunings: The trained parts of the language model.
        match: "parameters=N", to give mappers and tunings the sizes that train about N parameters.
        train_on: What models are trained on: images, their captions alone, or each of both.
        bridges: What stands between texts, in training, and images; for models trained on texts.
        prompts: The text around prefixes.
        decoders: The decoders; another one costs only its decoding.
        metrics: The metrics; another one costs only its scoring.
        seeds: The seeds of training and decoding.
        training: How mappers are trained.
        limit: The maximum number of images of each split.
        max_new_tokens: The maximum number of tokens of a caption.
        dtype: The language model's dtype.
        device: The device that everything runs on.
        skip_unreadable: Whether to continue without images that cannot be read.
        baselines: Whether to score captions that need no model as well.
        correction: The correction of p-values for many comparisons.
        encode_batch: The number of images per encoder batch.
        max_rows: The maximum number of hypotheses decoded at once.
        labels: The names of configs in tables, by digest; by default their specs.
    """

    dataset: DatasetConfig = attrs.field(
        default=DATASET,
        converter=_dataset,
        metadata=option("dataset", "Data set, such as jsonl:path=FOLDER."),
    )
    split: str | None = attrs.field(
        default=None,
        metadata=option("split", "Split to caption and score, such as val. (default: test)"),
    )
    encoders: tuple[EncoderConfig, ...] = attrs.field(
        default=recommended("encoder", "clip"),
        converter=_encoders,
        metadata=option("encoder", "Image encoder, such as clip:model=ViT-B/32.", many=True),
    )
    lms: tuple[LMConfig, ...] = attrs.field(
        default=recommended("lm", "hf:model=gpt2"),
        converter=_lms,
        metadata=option("lm", "Language model, such as hf:model=gpt2.", many=True),
    )
    mappers: tuple[MapperConfig, ...] = attrs.field(
        default=recommended("mapper", "mlp"),
        converter=_mappers,
        metadata=option("mapper", "Mapper, such as mlp.", many=True),
    )
    prefix_lengths: tuple[int, ...] = attrs.field(
        default=(10,),
        converter=_integers,
        metadata=option("prefix_len", "Prefix length P.", many=True, aliases=("--prefix-length",)),
        validator=at_least(1),
    )
    tunings: tuple[TuningConfig, ...] = attrs.field(
        default=recommended("tuning", "frozen"),
        converter=_tunings,
        metadata=option(
            "tuning", "Trained part of the language model, such as lora:r=16.", many=True
        ),
    )
    match: str | None = attrs.field(
        default=None,
        metadata=option(
            "match",
            "Give mappers and tunings the sizes with an equal number of trained parameters, such "
            "as parameters=1000000.",
        ),
    )
    train_on: tuple[str, ...] = attrs.field(
        default=(IMAGES,),
        converter=_texts,
        metadata=option(
            "train_on", "What to train on: images, or texts (captions) alone.", many=True
        ),
        validator=each_of((IMAGES, TEXTS)),
    )
    bridges: tuple[BridgeConfig, ...] = attrs.field(
        default=recommended("bridge", "none"),
        converter=_bridges,
        metadata=option(
            "bridge",
            "Bridge from texts to images, such as shift; with --train-on texts.",
            many=True,
        ),
    )
    prompts: tuple[PromptConfig, ...] = attrs.field(
        default=recommended("prompt", "none"),
        converter=_prompts,
        metadata=option(
            "prompt", "Text around prefixes: none, retrieved:k=4, entities.", many=True
        ),
    )
    decoders: tuple[DecoderConfig, ...] = attrs.field(
        default=recommended("decoder", "beam"),
        converter=_decoders,
        metadata=option("decoder", "Decoder, such as beam:num_beams=5.", many=True),
    )
    metrics: tuple[MetricConfig, ...] = attrs.field(
        default=METRICS,
        converter=_metrics,
        metadata=option(
            "metrics", "Metric to score by, such as cider.", many=True, changes_results=False
        ),
    )
    seeds: tuple[int, ...] = attrs.field(
        default=(0,),
        converter=_integers,
        metadata=option("seed", "Seed of training and decoding.", many=True),
        validator=at_least(0),
    )
    training: TrainingConfig = attrs.field(
        default=TRAINING,
        converter=attrs.Converter(training_config, takes_self=True),  # type: ignore[misc]
        metadata=option("training", "Training settings, such as learning_rate=1e-3,patience=3."),
    )
    limit: int | None = attrs.field(
        default=None,
        metadata=option("limit", "Use at most this many images of each split."),
        validator=at_least(1),
    )
    max_new_tokens: int = attrs.field(
        default=40,
        metadata=option("max_new_tokens", "Maximum number of tokens per caption."),
        validator=at_least(1),
    )
    dtype: str = attrs.field(
        default="float32",
        metadata=option("dtype", "The language model's dtype: float32, bfloat16 or float16."),
        validator=one_of(DTYPES),
    )
    device: str = attrs.field(
        default="auto", metadata=option("device", "Device: auto, cpu, cuda, cuda:1, ...")
    )
    skip_unreadable: bool = attrs.field(
        default=False,
        metadata=option(
            "skip_unreadable", "Continue without unreadable images.", changes_results=False
        ),
    )
    baselines: bool = attrs.field(
        default=True,
        metadata=option(
            "no_baselines", "Omit the baselines, which need no model.", changes_results=False
        ),
    )
    correction: str = attrs.field(
        default=HOLM,
        metadata=option(
            "correction",
            "Correction for many comparisons: holm, or benjamini-hochberg for large grids. "
            "(default: holm, or what the study was run with)",
            changes_results=False,
        ),
        validator=one_of(CORRECTIONS),
    )
    encode_batch: int = attrs.field(
        default=ENCODE_BATCH,
        metadata=option(
            "encode_batch", "Number of images per encoder batch.", changes_results=False
        ),
        validator=at_least(1),
    )
    max_rows: int = attrs.field(
        default=DEFAULT_ROWS,
        metadata=option(
            "max_rows",
            "Maximum number of hypotheses (beams, samples) decoded at once.",
            changes_results=False,
        ),
        validator=at_least(1),
    )
    labels: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(Study):
            if getattr(self, field.name) == ():
                raise PrefixcapError(f"a study needs at least one of its {field.name}")
        _ = self.matched_parameters
        bridge = next((each for each in self.bridges if each.name != "none"), None)
        if bridge is not None and TEXTS not in self.train_on:
            raise PrefixcapError(
                f"--bridge {specs.to_spec(bridge)} is for models that are trained on texts alone, "
                "and this study trains on images: give --train-on texts (or images,texts)"
            )

    def __repr__(self) -> str:
        """Show the grid, as specs, and its number of cells."""
        grid = (
            f"{field.name}=[{', '.join(map(self._text, getattr(self, field.name)))}]"
            for field in attrs.fields(Study)
            if (option := field.metadata.get("option")) and option.many
        )
        return f"Study({self.label(self.dataset)}, {', '.join(grid)}, {self.cells} cells)"

    def _text(self, value: object) -> str:
        return self.label(value) if isinstance(value, Component) else str(value)

    def models(self, encoder: EncoderConfig, lm: LMConfig) -> list[Model]:
        """Return the captioners to train with an encoder and a language model."""
        return [
            Model(
                encoder=encoder,
                lm=lm,
                mapper=mapper,
                prefix_length=p,
                tuning=tuning,
                prompt=prompt,
                seed=seed,
                bridge=bridge,
            )
            for mapper in self.mappers
            for p in self.prefix_lengths
            for tuning in self.tunings
            for bridge in self._sources
            for prompt in self.prompts
            for seed in self.seeds
        ]

    @property
    def matched_parameters(self) -> int | None:
        """The number of parameters that each model should train; None if any will do.

        Raises:
            PrefixcapError: If `match` is not of the form parameters=N.
        """
        return None if self.match is None else number_to_match(self.match)

    @property
    def _sources(self) -> tuple[BridgeConfig | None, ...]:
        """What models are trained on: None for images, a bridge for texts."""
        images = (None,) if IMAGES in self.train_on else ()
        return (*images, *(self.bridges if TEXTS in self.train_on else ()))

    @property
    def cells(self) -> int:
        """The number of cells of the grid."""
        models = (
            self.encoders,
            self.lms,
            self.mappers,
            self.prefix_lengths,
            self.tunings,
            self._sources,
            self.prompts,
            self.seeds,
        )
        return math.prod(map(len, (*models, self.decoders)))

    def label(self, config: Component) -> str:
        """Return a config's name in tables: as the user wrote it, or its spec."""
        return self.labels.get(specs.digest(config), specs.to_spec(config))

    def to_json(self) -> dict[str, Any]:
        """Return the study as JSON data, without its labels."""
        data = converter().unstructure(self)
        del data["labels"]
        return {"format": FORMAT, "kind": "study", **data}

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
