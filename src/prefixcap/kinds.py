"""The seven kinds of component: the base classes of their configs and of what these build.

Shapes, here and everywhere: B images, N feature tokens an image, D feature width, P prefix length,
E embedding width, R live rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from prefixcap.config import Component

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor, nn

    from prefixcap.decoding import Task
    from prefixcap.session import Session
    from prefixcap.similarity import TextSide


# ------------------------------------------------------------------------------------- data sets


LOOSE = -1
"""The number of an image that is of no data set."""


@attrs.frozen(kw_only=True)
class ImageItem:
    """One image of a data set, not yet read.

    Attributes:
        id: what names the image in results; unique in its data set.
        index: its row in the data set's own order, all splits together; `LOOSE` of a single image.
        path: the image file, where there is one.
        open: reads (or draws) the image.
        embedding: reads the precomputed feature (D) or (N,D), where the data set has one.
        digest: returns a hash of what the image shows and of its embedding, which addresses its
            features; the data set's digest stands in where there is none.
    """

    id: str
    index: int
    path: Path | None = None
    open: Callable[[], Image.Image] | None = attrs.field(default=None, eq=False, repr=False)
    embedding: Callable[[], np.ndarray] | None = attrs.field(default=None, eq=False, repr=False)
    digest: Callable[[], str] | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Example:
    """One image with its reference captions."""

    image: ImageItem
    references: tuple[str, ...]


class Dataset(ABC):
    """Images with their captions, in splits."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, such as ("train", "val", "test")."""

    @abstractmethod
    def examples(self, split: str) -> Sequence[Example]:
        """Returns a split's examples, always in the same order."""

    @abstractmethod
    def digest(self) -> str:
        """Returns a hash of everything that the data set gives, for addressing artifacts."""


@attrs.frozen(kw_only=True)
class DatasetConfig(Component):
    """The base of data set configs."""

    kind: ClassVar[str] = "dataset"
    companions: ClassVar[Mapping[str, str]] = {}
    """Specs of the components (by kind) that `bench` uses with this data set unless told.

    The key "training" holds settings of the training, such as "epochs=3".
    """

    @abstractmethod
    def build(self) -> Dataset:
        """Opens the data set.

        Raises:
            PrefixcapError: a file is missing or broken; the sentence names it (and its line).
        """


# --------------------------------------------------------------------------------- image encoders


class Encoder(ABC):
    """A frozen image encoder."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the width of a feature."""

    @property
    @abstractmethod
    def tokens(self) -> int | None:
        """N, the number of feature tokens an image; None where a feature is one vector (D)."""

    @abstractmethod
    def preprocess(self, image: ImageItem) -> Tensor:
        """Turns an image into the tensor that `encode` stacks, such as pixels (3,H,W)."""

    @abstractmethod
    def encode(self, inputs: Tensor) -> Tensor:
        """Encodes a stack of preprocessed images into features (B,D) or (B,N,D), float32."""

    @abstractmethod
    def digest(self) -> str:
        """Returns a hash of the weights (or of the file of features)."""

    def encode_text(self, texts: Sequence[str]) -> Tensor | None:
        """Encodes texts into the images' space (B,D), where the encoder has a text side."""
        return None


@attrs.frozen(kw_only=True)
class EncoderConfig(Component):
    """The base of image encoder configs.

    Attributes:
        by_index: whether a feature depends on its image's number in the data set, as that of a row
            in a file does; where it does not, images may come and go beside it.
    """

    kind: ClassVar[str] = "encoder"

    @property
    def by_index(self) -> bool:
        """See the attributes; to be on the safe side unless a config says otherwise."""
        return True

    @abstractmethod
    def build(self, device: str = "cpu") -> Encoder:
        """Loads the encoder's weights onto a device."""


# ---------------------------------------------------------------------------------------- mappers


@attrs.frozen(kw_only=True)
class MapperShape:
    """What a mapper must fit: D and N of the encoder, P of the study, E of the language model."""

    feature_width: int
    feature_tokens: int | None
    prefix_length: int
    embedding_width: int


@attrs.frozen(kw_only=True)
class MapperConfig(Component):
    """The base of mapper configs: a mapper turns features (B,D) or (B,N,D) into (B,P,E)."""

    kind: ClassVar[str] = "mapper"

    @abstractmethod
    def build(self, shape: MapperShape) -> nn.Module:
        """Makes the mapper with fresh weights, drawn from torch's global random state."""


# ------------------------------------------------------------------------------- language models


class Tokenizer(ABC):
    """What the core needs of a tokenizer."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Turns text into token ids, without any special token."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Turns token ids into text, without special tokens."""


class LanguageModel(ABC):
    """A causal language model that continues a prefix of embeddings."""

    @property
    @abstractmethod
    def width(self) -> int:
        """E, the width of a token's embedding."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """V, the number of logits."""

    @property
    @abstractmethod
    def max_positions(self) -> int | None:
        """The longest prefix and text together, where the model has a limit."""

    @property
    @abstractmethod
    def eos_id(self) -> int | None:
        """The id of the end-of-text token, where the model has one."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The ids of all tokens that end a text, `eos_id` first; this one alone by default."""
        return () if self.eos_id is None else (self.eos_id,)

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, where there is one."""

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """The model's module: its device, dtype and parameters, for tuning and training."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Looks up the embeddings (...,E) of token ids (...)."""

    def led(self, prefix: Tensor) -> Tensor:
        """Returns what the module itself is to read for prefixes (B,P,E).

        These alone, unless the model wants something before every prefix, such as the
        beginning-of-text token: then (B,P',E). Sessions and `teacher_forced` see to it themselves,
        and `max_positions` is what remains.
        """
        return prefix

    @abstractmethod
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Computes the logits of every token of given texts.

        Args:
            prefix: (B,P,E).
            ids: (B,T), padded on the right with any id.
            mask: (B,T), True where `ids` is real.

        Returns:
            Logits (B,T,V); those at position t are of token t, given the prefix and tokens < t.
        """

    @abstractmethod
    def start(
        self,
        prefix: Tensor,
        *,
        rows_per_image: int = 1,
        max_rows: int | None = None,
        max_new_tokens: int = 64,
        hidden_states: bool = False,
    ) -> Session:
        """Opens a session on the prefixes (B,P,E) of B images.

        Args:
            prefix: (B,P,E).
            rows_per_image: the most rows a decoder will hold for an image.
            max_rows: the most rows at once; the session admits images while theirs fit.
            max_new_tokens: the most tokens a row will be extended by.
            hidden_states: whether `Session.hidden` is wanted.
        """

    @abstractmethod
    def digest(self) -> str:
        """Returns a hash of the weights and the tokenizer."""


@attrs.frozen(kw_only=True)
class LMConfig(Component):
    """The base of language model configs."""

    kind: ClassVar[str] = "lm"

    @abstractmethod
    def build(self, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
        """Loads the model's weights onto a device."""


# ----------------------------------------------------------------------------------------- tuning


class Tuning(ABC):
    """Decides which of the language model's parameters are trained."""

    @abstractmethod
    def apply(self, module: nn.Module) -> None:
        """Sets `requires_grad` on every parameter; may add modules with parameters of its own.

        The parameters that require a gradient afterwards are trained, and saved in the run.
        """


@attrs.frozen(kw_only=True)
class TuningConfig(Component):
    """The base of tuning configs."""

    kind: ClassVar[str] = "tuning"
    trains_lm: ClassVar[bool] = True
    """Whether the language model changes in training, which then works on a copy of it."""

    @abstractmethod
    def build(self) -> Tuning:
        """Makes the tuning."""


# --------------------------------------------------------------------------------------- decoders


@attrs.frozen(kw_only=True)
class Hypothesis:
    """One caption that a decoder found.

    Attributes:
        ids: the token ids without the stop token.
        text: their text; "" where the language model has no tokenizer.
        logprob: the model's own sum of log-probabilities in nats, stop token included.
        score: what the decoder ranked by; higher is better.
        finish: "stop" where a stop token ended it, "length" where the limit did.
        stop_id: the stop token that ended it, where one did.
    """

    ids: tuple[int, ...]
    text: str
    logprob: float
    score: float
    finish: Literal["stop", "length"]
    stop_id: int | None = attrs.field(default=None, eq=False, repr=False)


class Decoder(ABC):
    """A search or a sampler."""

    @abstractmethod
    def decode(self, task: Task) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's number (0 to B-1) once, with its hypotheses, best first.

        Images may come in any order, as they finish.
        """


@attrs.frozen(kw_only=True)
class DecoderConfig(Component):
    """The base of decoder configs."""

    kind: ClassVar[str] = "decoder"
    needs_transformers: ClassVar[bool] = False
    """Whether it reaches into the language model, which then must be one of transformers'."""

    @abstractmethod
    def build(self) -> Decoder:
        """Makes the decoder."""

    def together(self) -> bool:
        """Says whether an image's captions depend on the images that are decoded beside it.

        A study then decodes all of them at once, also after it was killed half-way. So it is of a
        decoder that runs another one of which it is so.
        """
        return any(part.together() for part in self.parts() if isinstance(part, DecoderConfig))


# ---------------------------------------------------------------------------------------- metrics


@attrs.frozen(kw_only=True)
class Record:
    """One image's predicted caption beside its references.

    Attributes:
        image: the image's id.
        references: the human captions.
        prediction: the caption that is scored.
        captions: every caption that was made for the image, best first, where that is known; the
            first is the prediction.
        logprobs: the model's own log-probability of each, where a decoder made them.
        tokens: the number of tokens of each, the stop token included, likewise.
        finishes: how each ended, "stop" or "length", likewise.
        item: the image itself, where it is at hand.
        feature: the image's feature (D) or (N,D) by the study's encoder, likewise.
        text_side: the texts' side of that encoder, which compares the feature with captions.
    """

    image: str
    references: tuple[str, ...]
    prediction: str
    captions: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    finishes: tuple[str, ...] = ()
    item: ImageItem | None = attrs.field(default=None, eq=False, repr=False)
    feature: Tensor | None = attrs.field(default=None, eq=False, repr=False)
    text_side: TextSide | None = attrs.field(default=None, eq=False, repr=False)

    def predicting(self, number: int) -> Record:
        """Returns the record with one of its captions as the prediction; the others follow it."""

        def first(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return values and (values[number], *values[:number], *values[number + 1 :])

        return attrs.evolve(
            self,
            prediction=self.captions[number] if self.captions else self.prediction,
            captions=first(self.captions),
            logprobs=first(self.logprobs),
            tokens=first(self.tokens),
            finishes=first(self.finishes),
        )


@attrs.frozen(kw_only=True)
class Scores:
    """What a metric gives.

    Attributes:
        values: the corpus score of each named measure, such as {"Bleu_1": 0.57, ...}.
        per_image: each measure's score of each record, in the records' order, where it has one.
    """

    values: Mapping[str, float]
    per_image: Mapping[str, tuple[float, ...]] = attrs.field(factory=dict)


class Metric(ABC):
    """A measure of captions."""

    @abstractmethod
    def score(self, records: Sequence[Record]) -> Scores:
        """Scores the predictions of all records together.

        Raises:
            PrefixcapError: something that the metric needs (Java, models, references) is missing.
        """


@attrs.frozen(kw_only=True)
class MetricConfig(Component):
    """The base of metric configs."""

    kind: ClassVar[str] = "metric"
    needs: ClassVar[frozenset[str]] = frozenset()
    """What records must have besides texts, or the metric is not asked.

    "image": the image or its feature, with the encoder's text side; "search": what the decoder
    says of its captions (`logprobs`, `tokens`, `finishes`); "several": two captions or more.
    """
    less_is_better: ClassVar[frozenset[str]] = frozenset()
    """The names of the values that are the better the smaller they are, such as an error rate."""
    least: ClassVar[Mapping[str, int]] = {}
    """How many "images", and "references" of each, its scores mean something from; 1 unless given.

    Where there are fewer, that is said in a warning.
    """

    @abstractmethod
    def build(self) -> Metric:
        """Makes the metric."""


KINDS: Mapping[str, type[Component]] = {
    base.kind: base
    for base in (
        EncoderConfig,
        MapperConfig,
        LMConfig,
        TuningConfig,
        DecoderConfig,
        DatasetConfig,
        MetricConfig,
    )
}
