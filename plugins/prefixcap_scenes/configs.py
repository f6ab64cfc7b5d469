"""The configs of the drawn world; what they build is in `dataset` and in the plugins they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import Dataset, DatasetConfig
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.validators import between
from prefixcap.plugin import specs
from prefixcap.plugin.registry import default_registry

WEIGHTS = Path(__file__).parent / "weights"
# the shares of the splits are 80, 10 and 10 percent, and new scenes become rarer as more are drawn
MOST = {"train": 1_000_000, "val": 100_000, "test": 100_000}

C = TypeVar("C", bound=Component)


@attrs.frozen(kw_only=True)
class Scenes(DatasetConfig):
    """A drawn world that needs no download: pictures with five captions each.

    The splits share no scene, with any seed and sizes: what a scene shows decides its split.

    Attributes:
        train: how many training images, at most a million.
        val: how many validation images, at most 100,000.
        test: how many test images, at most 100,000.
        seed: another seed draws other scenes.
    """

    name: ClassVar[str] = "scenes"
    recommended: ClassVar[Mapping[str, str]] = {
        "encoder": "scenes-clip",
        "lm": "scenes-gpt2",
        "training": "epochs=3",
    }

    train: int = attrs.field(default=2000, validator=between(1, MOST["train"]))
    val: int = attrs.field(default=200, validator=between(1, MOST["val"]))
    test: int = attrs.field(default=200, validator=between(1, MOST["test"]))
    seed: int = 0

    def build(self) -> Dataset:
        """Draws the scenes; their pictures are drawn when they are opened."""
        from prefixcap_scenes.dataset import ScenesDataset

        return ScenesDataset(self)


@attrs.frozen(kw_only=True)
class ScenesClip(EncoderConfig):
    """The drawn world's own small CLIP, loaded by the encoder `clip` from the shipped checkpoint.

    Radford et al. 2021, https://arxiv.org/abs/2103.00020; features are (B,256).
    """

    name: ClassVar[str] = "scenes-clip"

    @property
    def depends_on_index(self) -> bool:
        """An image's embedding depends on nothing but the image."""
        return False

    def external_digests(self) -> Sequence[str]:
        """Returns a digest of the encoder that loads the checkpoint; raises as `build` does."""
        return [_loader(self._made_by())]

    def build(self, device: str = "cpu") -> Encoder:
        """Loads the checkpoint.

        Raises:
            PrefixcapError: the encoder `clip` or the checkpoint is not there.
        """
        return self._made_by().build(device)

    def _made_by(self) -> EncoderConfig:
        return _made_by(EncoderConfig, "clip", _shipped("clip/scenes-clip.pt"))


@attrs.frozen(kw_only=True)
class ScenesGPT2(LMConfig):
    """The drawn world's own small GPT-2, loaded by the language model `hf` from a shipped folder.

    Radford et al. 2019, "Language models are unsupervised multitask learners".
    """

    name: ClassVar[str] = "scenes-gpt2"

    def external_digests(self) -> Sequence[str]:
        """Returns a digest of the language model that loads the folder; raises as `build` does."""
        return [_loader(self._made_by())]

    def build(self, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
        """Loads the model and its tokenizer.

        Raises:
            PrefixcapError: the language model `hf` or the folder is not there.
        """
        return self._made_by().build(device, dtype)

    def _made_by(self) -> LMConfig:
        return _made_by(LMConfig, "hf", _shipped("gpt2"))


def _shipped(name: str) -> Path:
    path = WEIGHTS / name
    if not path.exists():
        raise PrefixcapError(
            f"the shipped weights {path} are not there; install prefixcap again, or make them with "
            f"'python -m prefixcap_scenes.pretrain {name.split('/')[0]} --out DIR'"
        )
    return path


def _made_by(base: type[C], name: str, path: Path) -> C:
    """Makes another plugin's config for a path, by way of the registry."""
    config_class: Any = _config_class(base.kind, name)
    return cast(C, config_class(model=str(path)))


@cache
def _config_class(kind: str, name: str) -> type[Component]:
    # asked for once a model of a study: looking through all plugins takes a while
    return default_registry().config_class(kind, name)


def _loader(config: Component) -> str:
    """Digests what loads the weights, without their path: another place makes no other feature."""
    return specs.digest(config.kind, config.name, config.version)
