"""Configs of the drawn world: its data set, its CLIP and its GPT-2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import Dataset, DatasetConfig
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.validators import between
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry

if TYPE_CHECKING:
    from PIL import Image

WEIGHTS = Path(__file__).parent / "weights"
# the splits get 80, 10 and 10 percent of the scenes, and new scenes become rare after that many
MAX_SIZES = {"train": 1_000_000, "val": 100_000, "test": 100_000}


@attrs.frozen(kw_only=True)
class Scenes(DatasetConfig):
    """A drawn world that needs no download: pictures with five captions each.

    The content of a scene decides its split, so splits of any seed and size share no scene.

    Attributes:
        train: Number of training images, at most 1,000,000.
        val: Number of validation images, at most 100,000.
        test: Number of test images, at most 100,000.
        seed: Seed of the scenes.
    """

    name: ClassVar[str] = "scenes"
    version: ClassVar[str] = "1"  # raise it with any change to the drawing or the captions
    recommended: ClassVar[Mapping[str, str]] = {
        "encoder": "scenes-clip",
        "lm": "scenes-gpt2",
        "training": "epochs=3",
    }

    train: int = attrs.field(default=2000, validator=between(1, MAX_SIZES["train"]))
    val: int = attrs.field(default=200, validator=between(1, MAX_SIZES["val"]))
    test: int = attrs.field(default=200, validator=between(1, MAX_SIZES["test"]))
    seed: int = 0

    @override
    def build(self) -> Dataset:
        from prefixcap_scenes.dataset import ScenesDataset

        sizes = {"train": self.train, "val": self.val, "test": self.test}
        return ScenesDataset(sizes, self.seed, self.version)


@attrs.frozen(kw_only=True)
class ScenesClip(EncoderConfig):
    """The drawn world's small CLIP (Radford et al. 2021, arXiv:2103.00020), features (B,256).

    The encoder `clip` loads it from the checkpoint in this package.
    """

    name: ClassVar[str] = "scenes-clip"

    @property
    @override
    def depends_on_index(self) -> bool:
        return False

    @override
    def external_digests(self) -> Sequence[str]:
        return [_loader_digest(self._loader())]

    @override
    def doubts(self, image: Image.Image) -> str | None:
        from prefixcap_scenes.render import looks_drawn

        if looks_drawn(image):
            return None
        return "the encoder 'scenes-clip' knows drawn scenes only, and this is no such drawing"

    @override
    def build(self, device: str = "cpu") -> Encoder:
        return self._loader().build(device)

    def _loader(self) -> EncoderConfig:
        settings: dict[str, object] = {"name": "clip", "model": _weights("clip/scenes-clip.pt")}
        return default_registry().from_json(EncoderConfig, settings)


@attrs.frozen(kw_only=True)
class ScenesGPT2(LMConfig):
    """The drawn world's small GPT-2 (Radford et al. 2019).

    The language model `hf` loads it from the folder in this package.
    """

    name: ClassVar[str] = "scenes-gpt2"

    @override
    def external_digests(self) -> Sequence[str]:
        return [_loader_digest(self._loader())]

    @override
    def build(self, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
        return self._loader().build(device, dtype)

    def _loader(self) -> LMConfig:
        return default_registry().from_json(LMConfig, {"name": "hf", "model": _weights("gpt2")})


def _weights(name: str) -> str:
    path = WEIGHTS / name
    if not path.exists():
        raise PrefixcapError(
            f"the weights {path} that come with prefixcap are missing; install prefixcap again"
        )
    return str(path)


def _loader_digest(config: Component) -> str:
    # without its path: the same weights in another folder give the same features
    return specs.digest(config.kind, config.name, config.version)
