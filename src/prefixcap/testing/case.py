"""Cases: a component's config, and what is needed to test it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.plugin.registry import Registry
from prefixcap.plugin.specs import to_spec
from prefixcap.testing.table_lm import LetterTokenizer, TableLM

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

T = TypeVar("T")
SHAPES = tuple(
    MapperShape(
        feature_width=width, feature_tokens=count, prefix_length=length, embedding_width=embedding
    )
    for width, count, length, embedding in (
        # 96 is divisible by usual numbers of attention heads, 240 by unusual ones
        (8, None, 1, 96),
        (6, None, 5, 240),
        (8, 3, 4, 96),
        (8, 1, 2, 96),
    )
)
# the positional arguments of each kind's `build`; mappers get a shape instead
ARGUMENTS: Mapping[str, tuple[str, ...]] = {"encoder": ("cpu",), "lm": ("cpu", "float32")}


def drawn_images() -> Sequence[ImageItem]:
    """Draw four small images of different colors and sizes, each with an embedding (8).

    The last one is grayscale, like some photographs in data sets.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    def item(number: int) -> ImageItem:
        def draw() -> Image.Image:
            image = Image.new("RGB", (48 + 16 * number, 80 - 8 * number), (40 * number, 90, 160))
            box = (8, 8, 24 + 6 * number, 40)
            ImageDraw.Draw(image).ellipse(box, fill=(250, 60 * number, 20))
            return image.convert("L") if number == 3 else image

        def embedding() -> np.ndarray:
            return np.cos(np.arange(8, dtype=np.float32) * (number + 1))

        return ImageItem(id=f"drawn {number}", index=number, open=draw, embedding=embedding)

    return [item(number) for number in range(4)]


def small_gpt2() -> nn.Module:
    """Build a one-layer GPT-2 with fixed random weights; random states are unchanged."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes: dict[str, Any] = {"vocab_size": 11, "n_positions": 32, "n_embd": 16, "n_layer": 1}
    config = GPT2Config(**sizes, n_head=2, bos_token_id=0, eos_token_id=10)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module: nn.Module = GPT2LMHeadModel(config)
    return module.eval()


def gpt2_lm() -> LanguageModel:
    """Build a language model of the small GPT-2, with letters as tokens."""
    from prefixcap.engine.causal_lm import CausalLM

    class Letters(CausalLM):
        @property
        def tokenizer(self) -> LetterTokenizer:
            return LetterTokenizer(self.vocab_size)

    return Letters(small_gpt2())


@attrs.frozen(kw_only=True)
class Case:
    """A component's config, and what is needed to test it.

    Attributes:
        config: The component's config.
        lm: Builds the language model for a decoder; by default a `TableLM`, or a small GPT-2 if the
            decoder `needs_transformers`.
        images: Builds the images for an encoder; they must differ.
        module: Builds the transformers model for a tuning.
        shapes: The shapes for a mapper; those refused with a `PrefixcapError` are skipped.
        texts: Texts that a language model's tokenizer must restore.
        registry: The registry that should know the component; not checked by default.
        without: The rules to skip, by name, each with the reason.
    """

    config: Component
    lm: Callable[[], LanguageModel] | None = None
    images: Callable[[], Sequence[ImageItem]] = drawn_images
    module: Callable[[], nn.Module] = small_gpt2
    shapes: tuple[MapperShape, ...] = SHAPES
    texts: tuple[str, ...] = ("A dog runs on the beach.", "Two red balls lie near a tree.")
    registry: Registry | None = None
    without: Mapping[str, str] = attrs.field(factory=dict)
    _cache: dict[str, Any] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    @property
    def id(self) -> str:
        """The component's kind and spec, such as "decoder beam:num_beams=3"."""
        return f"{self.config.kind} {to_spec(self.config)}"

    def build(self) -> Any:
        """Build a new component, with the arguments that the host passes."""
        build = self.config.build  # type: ignore[attr-defined]  # each kind has its own
        return build(*ARGUMENTS.get(self.config.kind, ()))

    def once(self, key: str, compute: Callable[[], T]) -> T:
        """Compute a value once, and cache it for the case's other checks."""
        if key not in self._cache:
            self._cache[key] = compute()
        return cast(T, self._cache[key])

    def language_model(self) -> LanguageModel:
        """Return the language model for a decoder, built once."""
        config = self.config
        on_gpt2 = isinstance(config, DecoderConfig) and config.needs_transformers
        build = self.lm or (gpt2_lm if on_gpt2 else TableLM)
        return self.once("lm", build)

    def built(self) -> Any:
        """Return the component, built once."""
        return self.once("component", self.build)
