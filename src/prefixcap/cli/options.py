"""The options that several commands share, and how their texts become a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.component import Component
from prefixcap.plugin import specs

if TYPE_CHECKING:
    from prefixcap.plugin.registry import Registry
    from prefixcap.study.definition.study import Study
    from prefixcap.training.config import TrainingConfig

DEFAULT_EVAL_METRICS = ("bleu", "meteor", "rouge", "cider")
DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "dataset": ("scenes",),
    "mapper": ("mlp",),
    "prefix_len": ("10",),
    "tuning": ("frozen",),
    "decoder": ("beam",),
    "metrics": (*DEFAULT_EVAL_METRICS, "length", "distinct"),
    "seed": ("0",),
    "lm": ("hf:model=gpt2",),
    "encoder": ("clip",),
    "dtype": ("float32",),
    "device": ("auto",),
    "correction": ("holm",),
}
GRID = ("mapper", "prefix_len", "decoder", "encoder", "lm", "tuning", "metrics", "seed")
SINGLE = (
    "dataset",
    "epochs",
    "training",
    "limit",
    "max_new_tokens",
    "device",
    "dtype",
    "skip_unreadable",
    "no_baselines",
    "correction",
    "encode_batch",
    "max_rows",
)

Texts = list[str] | None
_MANY = "Repeatable, or a comma list."

Metrics = Annotated[Texts, typer.Option(help=f"What to score by, such as bleu,cider. {_MANY}")]
Mappers = Annotated[Texts, typer.Option("--mapper", help=f"Mappers, such as mlp. {_MANY}")]
PrefixLengths = Annotated[Texts, typer.Option("--prefix-len", help=f"Prefix lengths P. {_MANY}")]
Decoders = Annotated[
    Texts, typer.Option("--decoder", help=f"Decoders, such as beam:num_beams=5. {_MANY}")
]
Encoders = Annotated[
    Texts, typer.Option("--encoder", help=f"Encoders, such as clip:model=ViT-B/32. {_MANY}")
]
LanguageModels = Annotated[
    Texts, typer.Option("--lm", help=f"Language models, such as hf:model=gpt2. {_MANY}")
]
Tunings = Annotated[
    Texts, typer.Option("--tuning", help=f"What is trained of the model: frozen, full. {_MANY}")
]
Seeds = Annotated[
    Texts, typer.Option("--seed", help=f"Seeds of the training and the decoding. {_MANY}")
]
Mapper = Annotated[str | None, typer.Option(help="The mapper, such as mlp.")]
PrefixLength = Annotated[str | None, typer.Option("--prefix-len", help="The prefix length P.")]
Encoder = Annotated[str | None, typer.Option(help="The encoder, such as clip:model=ViT-B/32.")]
LanguageModel = Annotated[str | None, typer.Option("--lm", help="The language model.")]
Tuning = Annotated[str | None, typer.Option(help="What is trained of the model: frozen, full.")]
Seed = Annotated[str | None, typer.Option(help="The seed of the training.")]
Dataset = Annotated[str | None, typer.Option(help="The data set, such as jsonl:path=FOLDER.")]
Epochs = Annotated[int | None, typer.Option(help="The most epochs to train.")]
Training = Annotated[
    str | None,
    typer.Option(help="Other settings of the training, such as learning_rate=1e-3,patience=3."),
]
Limit = Annotated[int | None, typer.Option(help="Use at most so many images of each split.")]
MaxNewTokens = Annotated[int | None, typer.Option(help="The most tokens a caption may have.")]
Correction = Annotated[
    str | None,
    typer.Option(
        help="For many comparisons: holm, or benjamini-hochberg for large grids. (default: holm, "
        "or what the study was run with)"
    ),
]
EncodeBatch = Annotated[int | None, typer.Option(help="How many images are encoded at once.")]
MaxRows = Annotated[
    int | None, typer.Option(help="The most captions (beams, samples) that grow at once.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Dtype = Annotated[
    str | None, typer.Option(help="Of the language model: float32, bfloat16 or float16.")
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Go on without images that cannot be read.")
]


def check_correction(name: str | None) -> None:
    """Checks a correction's name, where one was given.

    Raises:
        PrefixcapError: there is none of that name.
    """
    from prefixcap.study.definition.study import CORRECTIONS

    if name is not None and name not in CORRECTIONS:
        raise PrefixcapError(f"--correction cannot be {name!r}{nearest(name, CORRECTIONS)}")


def many(values: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """Splits what a repeatable option was given, comma lists within; or the default."""
    return [spec for value in values for spec in specs.split_list(value)] if values else [*default]


def study(choices: Mapping[str, object], registry: Registry) -> Study:
    """Makes a study of what was chosen, by the options' names with underscores.

    What is not chosen comes from the data set's companions, then from the defaults.

    Args:
        choices: lists of specs for the grid's options, single values for the others.
        registry: where specs are looked up.

    Raises:
        PrefixcapError: a component, a setting or a value is not known.
    """
    from prefixcap.interfaces.dataset import DatasetConfig
    from prefixcap.interfaces.decoder import DecoderConfig
    from prefixcap.interfaces.encoder import EncoderConfig
    from prefixcap.interfaces.language_model import LMConfig
    from prefixcap.interfaces.mapper import MapperConfig
    from prefixcap.interfaces.metric import MetricConfig
    from prefixcap.interfaces.tuning import TuningConfig
    from prefixcap.study.definition.study import Study

    wanted = Choices(choices, registry)
    dataset = wanted.configs(DatasetConfig, "dataset")[0]
    wanted.recommended = dataset.recommended
    whole = {
        key: _number(str(choices[key]), f"--{key.replace('_', '-')}", 1)
        for key in ("limit", "max_new_tokens", "encode_batch", "max_rows")
        if choices.get(key) is not None
    }
    return Study(
        dataset=dataset,
        encoders=wanted.configs(EncoderConfig, "encoder"),
        lms=wanted.configs(LMConfig, "lm"),
        mappers=wanted.configs(MapperConfig, "mapper"),
        prefix_lengths=_numbers(wanted.texts("prefix_len"), "--prefix-len", 1),
        tunings=wanted.configs(TuningConfig, "tuning"),
        decoders=wanted.configs(DecoderConfig, "decoder"),
        metrics=wanted.configs(MetricConfig, "metrics"),
        seeds=_numbers(wanted.texts("seed"), "--seed", 0),
        training=training_config(choices, wanted.recommended),
        dtype=wanted.texts("dtype")[0],
        device=wanted.texts("device")[0],
        skip_unreadable=bool(choices.get("skip_unreadable")),
        baselines=not choices.get("no_baselines"),
        correction=wanted.texts("correction")[0],
        labels=wanted.labels,
        **whole,
    )


C = TypeVar("C", bound=Component)


class Choices:
    """What was chosen, and what stands in for what was not.

    Args:
        choices: lists of specs for the grid's options, single values for the others.
        registry: where specs are looked up.
    """

    def __init__(self, choices: Mapping[str, object], registry: Registry) -> None:
        self._choices = choices
        self._registry = registry
        self.recommended: Mapping[str, str] = {}
        self.labels: dict[str, str] = {}

    def texts(self, option: str) -> list[str]:
        """Returns an option's texts: as chosen, or the companions', or the default."""
        companion = self.recommended.get(option)
        default = DEFAULTS[option] if companion is None else (companion,)
        chosen = self._choices.get(option)
        if option in SINGLE:
            return [str(chosen)] if chosen is not None else [*default]
        values = chosen if isinstance(chosen, list | tuple) else [] if chosen is None else [chosen]
        return many([str(value) for value in values], default)

    def configs(self, base: type[C], option: str) -> tuple[C, ...]:
        """Returns an option's configs, each once, and remembers how they were called."""
        found: dict[str, C] = {}
        for text in self.texts(option):
            config = self._registry.parse(base, text)
            digest = specs.digest(config)
            found.setdefault(digest, config)
            self.labels.setdefault(digest, text)
        return tuple(found.values())


def training_config(choices: Mapping[str, object], companions: Mapping[str, str]) -> TrainingConfig:
    """Makes the training's config of `--training` and `--epochs`, over what the data set advises.

    Raises:
        PrefixcapError: a setting is not known, or its value is of the wrong type or out of range.
    """
    from prefixcap.training.config import TrainingConfig

    _, settings = specs.split(f"training:{companions.get('training', '')}")
    settings |= specs.split(f"training:{choices.get('training') or ''}")[1]
    if choices.get("epochs") is not None:
        settings["epochs"] = str(choices["epochs"])
    config: TrainingConfig = specs.structure(cast(Any, TrainingConfig), settings, "--training")
    return config


def _numbers(texts: Sequence[str], option: str, least: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_number(text, option, least) for text in texts))


def _number(text: str, option: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise PrefixcapError(f"{option} must be whole numbers, not {text!r}") from None
    if number < least:
        raise PrefixcapError(f"{option} must be at least {least}, not {number}")
    return number
