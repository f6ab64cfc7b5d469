"""A case: a component's config and what its checks need to try it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

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

SHAPES = tuple(
    MapperShape(
        feature_width=width, feature_tokens=count, prefix_length=length, embedding_width=embedding
    )
    for width, count, length, embedding in (
        # widths that the usual numbers of heads divide, and 240 the unusual ones
        (8, None, 1, 96),
        (6, None, 5, 240),
        (8, 3, 4, 96),
        (8, 1, 2, 96),
    )
)
# what the host gives to a kind's `build`, always by position; mappers have shapes of their own
ARGUMENTS: Mapping[str, tuple[str, ...]] = {"encoder": ("cpu",), "lm": ("cpu", "float32")}


def drawn_images() -> Sequence[ImageItem]:
    """Draws four small images that differ in colour and size, each with an embedding (8).

    The last one is a greyscale image, as some photographs in data sets are.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    def drawing(number: int) -> Callable[[], Image.Image]:
        def draw() -> Image.Image:
            image = Image.new("RGB", (48 + 16 * number, 80 - 8 * number), (40 * number, 90, 160))
            box = (8, 8, 24 + 6 * number, 40)
            ImageDraw.Draw(image).ellipse(box, fill=(250, 60 * number, 20))
            return image.convert("L") if number == 3 else image

        return draw

    def embedding(number: int) -> Callable[[], np.ndarray]:
        return lambda: np.cos(np.arange(8, dtype=np.float32) * (number + 1))

    return [
        ImageItem(id=f"drawn {i}", index=i, open=drawing(i), embedding=embedding(i))
        for i in range(4)
    ]


def small_gpt2() -> nn.Module:
    """Makes a GPT-2 of one layer with fixed random weights; no random state is touched."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = GPT2Config(
        vocab_size=11,
        n_positions=32,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=10,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module: nn.Module = GPT2LMHeadModel(sizes)
    return module.eval()


def gpt2_lm() -> LanguageModel:
    """Makes a language model of the small GPT-2 that writes letters."""
    from prefixcap.engine.causal_lm import CausalLM

    class Letters(CausalLM):
        @property
        def tokenizer(self) -> LetterTokenizer:
            return LetterTokenizer(self.vocab_size)

    return Letters(small_gpt2())


@attrs.frozen(kw_only=True)
class Case:
    """A component's config and what its checks need; what is not given is made on the spot.

    Attributes:
        config: the component to try.
        lm: makes the language model that a decoder is tried on; unless given, a table (or a small
            GPT-2, for a decoder that `needs_transformers`).
        images: makes the images that an encoder is tried on; they must differ.
        module: makes the model, one of transformers', that a tuning is tried on.
        shapes: what a mapper is tried on; those that it refuses with a sentence are left out.
        texts: sentences that a language model's tokenizer must give back.
        registry: where the component is registered, where that is to be checked too.
        without: rules to leave out, by name, each with the reason.
    """

    config: Component
    lm: Callable[[], LanguageModel] | None = None
    images: Callable[[], Sequence[ImageItem]] = drawn_images
    module: Callable[[], nn.Module] = small_gpt2
    shapes: tuple[MapperShape, ...] = SHAPES
    texts: tuple[str, ...] = ("A dog runs on the beach.", "Two red balls lie near a tree.")
    registry: Registry | None = None
    without: Mapping[str, str] = attrs.field(factory=dict)
    _made: dict[str, Any] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    @property
    def id(self) -> str:
        """The component's kind and spec, such as "decoder beam:num_beams=3"."""
        return f"{self.config.kind} {to_spec(self.config)}"

    def build(self) -> Any:
        """Builds the component anew, with the arguments that the host gives."""
        build = self.config.build  # type: ignore[attr-defined]  # each kind has its own
        return build(*ARGUMENTS.get(self.config.kind, ()))

    def once(self, what: str, make: Callable[[], Any]) -> Any:
        """Makes something when it is first asked for, and keeps it for the case's other checks."""
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]

    def language_model(self) -> LanguageModel:
        """Makes the language model that a decoder is tried on, once."""
        make = self.lm or (gpt2_lm if _needs_transformers(self.config) else TableLM)
        return cast(LanguageModel, self.once("lm", make))

    def built(self) -> Any:
        """Builds the component once for all checks that only look at it."""
        return self.once("component", self.build)


def _needs_transformers(config: Component) -> bool:
    return isinstance(config, DecoderConfig) and config.needs_transformers
