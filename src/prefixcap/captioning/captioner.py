"""`Captioner`: a trained model that captions images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import attrs
import torch
from torch import Tensor

from prefixcap.captioning import checkpoint
from prefixcap.captioning.encode_images import ENCODE_BATCH, encode
from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.decoding.decode import collect, iter_decode
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import NO_INDEX, ImageItem
from prefixcap.interfaces.decoder import DEFAULT_ROWS, DecoderConfig, Hypothesis
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap.plugin.specs import to_json, to_spec
from prefixcap.util.runtime import device_named, dtype_named

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Picture = Union[str, Path, "Image.Image", ImageItem]

UNLIKE = 1.6
"""How many times larger or smaller than in training features may be before it is said."""

# the transformer mapper holds several times its output for as many images as it maps at once
_IMAGES_AT_ONCE = 1024
_PROBE = "A black dog runs, and two children in red watch it."


@attrs.define(kw_only=True)
class Captioner:
    """A language model, a mapper that writes its prefixes, and the encoder of its images.

    `Captioner.load` reads one that was saved; training and importing make one of its parts.

    Attributes:
        lm: the language model, as trained.
        prefixer: from features to prefixes.
        mapper_config: what the mapper was built from.
        tuning_config: what was trained of the language model.
        lm_config: what the language model was built from; needed to save.
        lm_digest: the language model's digest before training.
        encoder_config: what the encoder is built from, where images are to be captioned.
        encoder_digest: the encoder's digest.
        encoder: the encoder, built when it is first needed.
        training: The training's settings, as JSON data.
        seed: of the training.
        stop_ids: the tokens that end a caption.
        stop_visible: whether the stop token's text belongs to the caption.
        trained_parameters: how many numbers were trained.
        history: what `training.Trained.history` holds.
        save_lm: whether `save` writes every weight of the language model, so that loading needs
            only its config and tokenizer.
    """

    lm: LanguageModel
    prefixer: Prefixer
    mapper_config: MapperConfig
    tuning_config: TuningConfig
    lm_config: LMConfig | None = None
    lm_digest: str | None = None
    encoder_config: EncoderConfig | None = None
    encoder_digest: str | None = None
    encoder: Encoder | None = None
    training: dict[str, Any] | None = None
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    stop_visible: bool = False
    trained_parameters: int = 0
    history: dict[str, Any] = attrs.field(factory=dict, repr=False)
    save_lm: bool = False

    @property
    def device(self) -> torch.device:
        """Where the language model is."""
        return next(self.lm.module.parameters()).device

    def prefixes(self, features: Tensor) -> Tensor:
        """Maps features (B,D) or (B,N,D) to prefixes (B,P,E), float32.

        Raises:
            PrefixcapError: the features are of another width or number of tokens.
        """
        with torch.inference_mode():
            some = torch.split(features, _IMAGES_AT_ONCE)
            parts = [self.prefixer(part.to(self.device)) for part in some]
            return torch.cat(parts)

    def check_feature_shift(self, features: Tensor) -> str | None:
        """Says that features (B,D) or (B,N,D) are plainly unlike those of the training, if so.

        What is compared is their size after the training's normalisation: another scale shows in
        it, and so does another encoder, whose features have another mean.
        """
        known = self.history.get("features")
        if known is None or not len(features):
            return None
        self.prefixer.check(features)
        found = self.prefixer.norm.measure(features.to(self.device))
        if not known["rms"] or known["rms"] / UNLIKE <= found["rms"] <= UNLIKE * known["rms"]:
            return None
        return (
            f"the features are unlike those that this run was trained on: their mean norm is "
            f"{found['norm']:.3g} (in training {known['norm']:.3g}), and normalised as in training "
            f"their root mean square is {found['rms']:.3g} (in training {known['rms']:.3g}): they "
            "must come from the same encoder, and be normalised alike"
        )

    def encode(self, images: Sequence[Picture], *, batch_size: int = ENCODE_BATCH) -> Tensor:
        """Encodes images into features (B,D) or (B,N,D).

        Args:
            images: paths, PIL images or a data set's items.
            batch_size: how many images are encoded at once.

        Raises:
            PrefixcapError: an image cannot be read, or there is no encoder for images.
        """
        items = [_item(image, number) for number, image in enumerate(images)]
        return encode(self._built_encoder(), items, batch_size=batch_size)

    def text_encoder(self) -> TextEncoder | None:
        """Returns the texts' side of the encoder, built when first needed; None without encoder."""
        if self.encoder is None and self.encoder_config is None:
            return None
        name = type(self.encoder).__name__
        if self.encoder_config is not None:
            name = to_spec(self.encoder_config)
        return TextEncoder(name, self._built_encoder, str(self.device))

    def _built_encoder(self) -> Encoder:
        if self.encoder is None:
            if self.encoder_config is None:
                raise PrefixcapError("this run has no image encoder: give it features instead")
            self.encoder = self.encoder_config.build(str(self.device))
            found = self.encoder.digest()
            if self.encoder_digest is not None and found != self.encoder_digest:
                raise PrefixcapError(
                    f"the encoder {self.encoder_config.name!r} has other weights ({found}) than "
                    f"the one that this run was trained with ({self.encoder_digest})"
                )
        return self.encoder

    def caption(
        self,
        images: Picture | Sequence[Picture] | None = None,
        *,
        features: Tensor | np.ndarray | None = None,
        decoder: str | DecoderConfig = "beam",
        n: int | None = None,
        seed: int = 0,
        max_new_tokens: int = 40,
        image_ids: Sequence[str] | None = None,
        max_rows: int = DEFAULT_ROWS,
    ) -> list[list[Hypothesis]]:
        """Captions images, or features that were made of them.

        Args:
            images: paths, PIL images or a data set's items; or just one.
            features: (B,D) or (B,N,D), instead of images.
            decoder: a decoder's config, or its spec such as "beam:num_beams=5".
            n: how many captions an image; what the decoder's config says unless given.
            seed: of all randomness.
            max_new_tokens: the most tokens a caption may have.
            image_ids: B names that key the images' random streams; unless given the items' ids,
                the paths' last parts, or the rows' numbers.
            max_rows: the most hypotheses that are extended at once.

        Returns:
            B lists of hypotheses, best first.

        Raises:
            PrefixcapError: an image cannot be read, or something does not fit.
        """
        if (images is None) == (features is None):
            raise PrefixcapError("give either images or features to caption")
        if images is not None:
            one = isinstance(images, (str, Path, ImageItem)) or not isinstance(images, Sequence)
            pictures: list[Any] = [images] if one else list(images)  # type: ignore[arg-type]
            inputs = self.encode(pictures)
            image_ids = image_ids or [_item(p, n).id for n, p in enumerate(pictures)]
        else:
            inputs = torch.as_tensor(features).float()
        if shift := self.check_feature_shift(inputs):
            warnings.warn(shift, stacklevel=2)
        captions = self.iter_caption(
            inputs,
            decoder,
            n=n,
            seed=seed,
            max_new_tokens=max_new_tokens,
            image_ids=image_ids,
            max_rows=max_rows,
        )
        return collect(captions, len(inputs))

    def iter_caption(
        self,
        features: Tensor,
        decoder: str | DecoderConfig = "beam",
        *,
        prefix: Tensor | None = None,
        text_encoder: TextEncoder | None = None,
        n: int | None = None,
        seed: int = 0,
        max_new_tokens: int = 40,
        image_ids: Sequence[str] | None = None,
        max_rows: int = DEFAULT_ROWS,
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Caption features (B,D) or (B,N,D); yield each image's number and hypotheses when done.

        A `prefix` (B,P,E) saves computing `prefixes(features)` again, and `text_encoder` replaces
        the captioner's own; the other arguments are those of `caption`.
        """
        return iter_decode(
            self.lm,
            self.prefixes(features) if prefix is None else prefix,
            decoder,
            max_new_tokens=max_new_tokens,
            stop_ids=self.stop_ids,
            stop_visible=self.stop_visible,
            image_ids=image_ids,
            seed=seed,
            n=n,
            max_rows=max_rows,
            features=features,
            encoder=text_encoder or self.text_encoder(),
        )

    def save(self, folder: str | Path) -> Path:
        """Saves the captioner into a folder, which `Captioner.load` reads.

        Raises:
            PrefixcapError: the language model's config is not known, or the disk is full.
        """
        if self.lm_config is None:
            raise PrefixcapError("a captioner is saved with its lm_config, and this one has none")
        opened = [name for name, p in self.lm.module.named_parameters() if p.requires_grad]
        state = dict(self.lm.module.named_parameters())
        # another training may have frozen the tuned model since
        frozen = self.tuning_config.trains_lm and not opened
        chosen = list(state) if self.save_lm or frozen else opened
        weights = {f"prefixer.{k}": v for k, v in self.prefixer.state_dict().items()}
        weights |= {f"lm.{name}": state[name].detach() for name in chosen}
        folder = Path(folder)
        checkpoint.write(folder, self._config(complete=len(chosen) == len(state)), weights)
        return folder

    def _config(self, *, complete: bool) -> dict[str, Any]:
        shape = self.prefixer.shape
        tokenizer = self.lm.tokenizer
        configs = {
            "encoder": self.encoder_config,
            "mapper": self.mapper_config,
            "tuning": self.tuning_config,
            "lm": self.lm_config,
        }
        return {
            **{kind: None if c is None else to_json(c) for kind, c in configs.items()},
            "component_versions": {kind: c.version for kind, c in configs.items() if c},
            "shape": attrs.asdict(shape),
            "stop_ids": list(self.stop_ids),
            "stop_visible": self.stop_visible,
            "dtype": str(self.lm.module.get_parameter(_first(self.lm)).dtype)[6:],
            "lm_digest": None if complete else self.lm_digest,
            "lm_probe": None if tokenizer is None else tokenizer.encode(_PROBE),
            "encoder_digest": self.encoder_digest,
            "training": self.training,
            "seed": self.seed,
            "trained_parameters": self.trained_parameters,
            "history": self.history,
        }

    @classmethod
    def load(
        cls,
        run: str | Path,
        device: str = "auto",
        dtype: str | None = None,
        *,
        registry: Registry | None = None,
    ) -> Captioner:
        """Loads what `save` wrote.

        Args:
            run: the folder, or that of a study with one model.
            device: "auto" is the GPU where there is one.
            dtype: of the language model; the one of the training unless given.
            registry: where the components are looked up; what is installed unless given.

        Raises:
            PrefixcapError: a file is missing or broken, is of another format, the language model
                is not the one of the training, or the study has several models.
        """
        folder = checkpoint.model_folder(Path(run).expanduser())
        config, weights = checkpoint.read(folder)
        if dtype is not None:
            dtype_named(dtype)
        try:
            return _load(cls, folder, config, weights, device_named(device), dtype, registry)
        except (KeyError, TypeError, AttributeError) as error:
            raise PrefixcapError(
                f"{folder / checkpoint.CONFIG}: the run's config is broken: {error!r}"
            ) from error


def _load(
    cls: type[Captioner],
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    device: str,
    dtype: str | None,
    registry: Registry | None,
) -> Captioner:
    registry = registry or default_registry()
    encoder = config["encoder"]
    lm_config = registry.from_json(LMConfig, config["lm"])
    tuning_config = registry.from_json(TuningConfig, config["tuning"])
    mapper_config = registry.from_json(MapperConfig, config["mapper"])
    lm = lm_config.build(device, config["dtype"])
    _check_lm(folder, lm, config)
    tuning_config.build().apply(lm.module)
    opened = [name for name, p in lm.module.named_parameters() if p.requires_grad]
    stored = {k.removeprefix("lm."): v for k, v in weights.items() if k.startswith("lm.")}
    _fill(folder, lm, stored, opened)
    if dtype is not None:
        lm.module.to(dtype_named(dtype))
    shape = MapperShape(**config["shape"])
    state = {k.removeprefix("prefixer."): v for k, v in weights.items() if k[:9] == "prefixer."}
    with torch.random.fork_rng(devices=[]):
        mapper = mapper_config.build(shape)
    prefixer = Prefixer(FeatureNorm(torch.zeros(shape.feature_width)), mapper, shape)
    try:
        prefixer.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise PrefixcapError(f"{folder}: the weights do not fit the mapper: {reason}") from error
    return cls(
        lm=lm,
        prefixer=prefixer.eval().to(device),
        mapper_config=mapper_config,
        tuning_config=tuning_config,
        lm_config=lm_config,
        lm_digest=config["lm_digest"],
        encoder_config=None if encoder is None else registry.from_json(EncoderConfig, encoder),
        encoder_digest=config["encoder_digest"],
        training=config["training"],
        seed=config["seed"],
        stop_ids=tuple(config["stop_ids"]),
        stop_visible=config["stop_visible"],
        trained_parameters=config["trained_parameters"],
        history=config["history"],
        save_lm=len(stored) > len(opened),
    )


def _check_lm(folder: Path, lm: LanguageModel, config: dict[str, Any]) -> None:
    spec = config["lm"]
    if lm.width != config["shape"]["embedding_width"]:
        raise PrefixcapError(
            f"{folder}: the language model {spec} has width {lm.width}, and this run's mapper "
            f"was trained for width {config['shape']['embedding_width']}"
        )
    if config["lm_digest"] is not None and lm.digest() != config["lm_digest"]:
        raise PrefixcapError(
            f"{folder}: the language model {spec} is not the one that this run was trained with: "
            f"its weights or vocabulary differ ({lm.digest()} instead of {config['lm_digest']})"
        )
    probe = None if lm.tokenizer is None else lm.tokenizer.encode(_PROBE)
    if config["lm_probe"] is not None and probe != config["lm_probe"]:
        raise PrefixcapError(
            f"{folder}: the tokenizer of the language model {spec} splits text otherwise than "
            "the one that this run was trained with"
        )


def _fill(folder: Path, lm: LanguageModel, stored: dict[str, Tensor], opened: list[str]) -> None:
    parameters = dict(lm.module.named_parameters())
    missing = [name for name in opened if name not in stored]
    unknown = [name for name in stored if name not in parameters]
    if missing or unknown:
        raise PrefixcapError(
            f"{folder}: the weights do not fit the language model: "
            f"{'missing' if missing else 'unknown'} are {', '.join((missing or unknown)[:3])}"
        )
    with torch.no_grad():
        for name, tensor in stored.items():
            if parameters[name].shape != tensor.shape:
                raise PrefixcapError(
                    f"{folder}: the weights do not fit the language model: {name} is "
                    f"{tuple(tensor.shape)} instead of {tuple(parameters[name].shape)}"
                )
            parameters[name].copy_(tensor)


def _first(lm: LanguageModel) -> str:
    return next(name for name, _ in lm.module.named_parameters())


def _item(image: Picture, number: int) -> ImageItem:
    if isinstance(image, ImageItem):
        return image
    if isinstance(image, (str, Path)):
        path = Path(image)
        return ImageItem(id=path.name, index=NO_INDEX, path=path, open=lambda: _open(path))
    return ImageItem(id=str(number), index=NO_INDEX, open=lambda: image)


def _open(path: Path) -> Image.Image:
    from PIL import Image

    return Image.open(path)
