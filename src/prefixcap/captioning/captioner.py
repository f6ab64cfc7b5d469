"""`Captioner`: a trained model that captions images.

An image becomes a feature (`encode_images`), the feature a prefix (`prefixer`), and a decoder
continues the prefix on the language model.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor

from prefixcap.captioning import checkpoint
from prefixcap.captioning.encode_images import (
    ENCODE_BATCH,
    Picture,
    as_item,
    checked,
    iter_encoded,
    stacked,
)
from prefixcap.captioning.feature_rows import AnyFeatures
from prefixcap.captioning.folding import Folding
from prefixcap.captioning.loading import probe, restore
from prefixcap.captioning.prefixer import Prefixer
from prefixcap.captioning.prompting.prompts import Prompts
from prefixcap.decoding.decode import collect, iter_decode
from prefixcap.engine.prefixes.packing import blank
from prefixcap.errors import PrefixcapError, PrefixcapWarning
from prefixcap.interfaces.bridge import BridgeConfig
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.decoder import DEFAULT_ROWS, DecoderConfig, Hypothesis
from prefixcap.interfaces.encoder import Encoder, EncoderConfig
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap.plugin.specs import absolute, to_json, to_spec
from prefixcap.util.runtime import device_named, dtype_named, dtype_of

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

# The transformer mapper holds several times its output for all images that it maps together.
_MAPPED_TOGETHER = 1024


@attrs.define(kw_only=True, repr=False)
class Captioner:
    """A language model, a mapper that writes its prefixes, and an encoder for images.

    `Captioner.load` reads a saved one, and `train` returns one.

    Attributes:
        lm: The language model, as trained.
        prefixer: Maps features to prefixes.
        prompts: The text around the prefixes, if there is any.
        tuning_config: Which parameters of the language model were trained.
        lm_config: The language model's config; needed to save.
        lm_digest: The language model's digest before training.
        encoder_config: The config of the encoder, for captioning images.
        bridge_config: The bridge, if the model was trained on texts alone.
        encoder: The encoder, built when it is first needed.
        training: The training's settings, as JSON data.
        stop_ids: The tokens that end a caption.
        stop_visible: Whether the stop token's text belongs to the caption.
        history: "loss" of each step; for each epoch "train_loss", "seconds", "memory" (the most
            so far that the training took, in MiB, if the system tells), "learning_rate" and,
            with validation data, "val_loss", "samples" (captions by image) and "val_scores";
            "best_epoch" (from 1), whose weights these are; "flops" of all steps, forward and
            backward; "features", the result of `FeatureNorm.measure` for the training images.
        save_lm: Whether `save` writes all weights of the language model, so that loading needs
            only its config and tokenizer.
    """

    lm: LanguageModel
    prefixer: Prefixer
    mapper_config: MapperConfig
    tuning_config: TuningConfig
    lm_config: LMConfig | None = None
    lm_digest: str | None = None
    encoder_config: EncoderConfig | None = None
    bridge_config: BridgeConfig | None = None
    encoder_digest: str | None = None
    encoder: Encoder | None = None
    training: dict[str, Any] | None = None
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    stop_visible: bool = False
    trained_parameters: int = 0
    history: dict[str, Any] = attrs.field(factory=dict, repr=False)
    save_lm: bool = False
    prompts: Prompts | None = None
    _folding: Folding = attrs.field(factory=Folding, init=False, eq=False)

    def __repr__(self) -> str:
        lm = type(self.lm).__name__ if self.lm_config is None else to_spec(self.lm_config)
        prompt = "" if self.prompts is None else f"prompt={to_spec(self.prompts.config)!r}, "
        return (
            f"Captioner(mapper={to_spec(self.mapper_config)!r}, "
            f"prefix_length={self.prefixer.shape.prefix_length}, lm={lm!r}, "
            f"tuning={to_spec(self.tuning_config)!r}, {prompt}device={str(self.device)!r})"
        )

    @property
    def device(self) -> torch.device:
        """The device of the language model."""
        return self.lm.device

    @property
    def decoding_lm(self) -> LanguageModel:
        """The language model that captions: `lm`, or a copy with what its tuning added folded in.

        The copy is kept until the trained parameters change, and shares all other weights.
        """
        return self._folding.folded(self.lm, self.tuning_config)

    def prefixes(self, features: AnyFeatures) -> Tensor:
        """Map features (B,D) or (B,N,D) to prefixes (B,P,E), float32, with prompts around them.

        Raises:
            PrefixcapError: If the features have another width or number of tokens.
        """
        with torch.inference_mode():
            starts = range(0, max(1, len(features)), _MAPPED_TOGETHER)
            chunks = (features[start : start + _MAPPED_TOGETHER] for start in starts)
            return torch.cat([self._prefix(chunk) for chunk in chunks])

    def _prefix(self, features: Tensor) -> Tensor:
        prefix: Tensor = self.prefixer(features.to(self.device))
        return prefix if self.prompts is None else self.prompts.to_images(prefix, features)

    @property
    def prefix_length(self) -> int:
        """The number of positions that a prefix and its prompt take."""
        return self.lm.positions(blank(1, self.prefixer.shape).to(self.device))

    def _null_prefix(self) -> Tensor:
        with torch.inference_mode():
            null = self.prefixer.null_prefix()
            if self.prompts is None:
                return null
            return self.prompts.around(null[None], self.prompts.tokens([()]))[0]

    def check_feature_shift(self, features: Tensor) -> str | None:
        """Return a warning if features (B,D) or (B,N,D) clearly differ from those in training."""
        trained = self.history.get("features")
        if trained is None or not len(features):
            return None
        self.prefixer.check(features)
        return self.prefixer.norm.shift(self.prefixer.of_images(features.to(self.device)), trained)

    def encode(self, images: Sequence[Picture], *, batch_size: int = ENCODE_BATCH) -> Tensor:
        """Encode paths, PIL images or items of a data set into features (B,D) or (B,N,D).

        Raises:
            PrefixcapError: If an image cannot be read, or there is no image encoder.
        """
        items = [as_item(image, number) for number, image in enumerate(images)]
        batches = iter_encoded(
            self.built_encoder(), items, batch_size=batch_size, doubts=self.doubts
        )
        encoded = [checked(image) for batch in batches for image in batch]
        doubts = [image.doubt for image in encoded if image.doubt is not None]
        if doubts:
            more = f" (and {len(doubts) - 1} more)" if len(doubts) > 1 else ""
            warnings.warn(doubts[0] + more, PrefixcapWarning, stacklevel=2)
        return stacked(encoded)

    def doubts(self, image: Image.Image) -> str | None:
        """Return why an RGB image is unlike those of the encoder's training, if it is.

        The features of such images may look like any others.
        """
        return None if self.encoder_config is None else self.encoder_config.doubts(image)

    def use_encoder(self, encoder: str | EncoderConfig) -> None:
        """Encode images by another encoder than that of the training.

        A captioner that was trained on precomputed features can so caption images, if the encoder
        is the one that computed them; `check_feature_shift` notices most others.

        Raises:
            PrefixcapError: If the encoder is unknown or cannot be built, or its features have
                another shape than those in training.
        """
        config = default_registry().parse(EncoderConfig, encoder)
        built = config.build(str(self.device))
        self._check_shape(config, built)
        self.encoder_config, self.encoder, self.encoder_digest = config, built, built.digest()

    def _check_shape(self, config: EncoderConfig, encoder: Encoder) -> None:
        shape = self.prefixer.shape
        try:
            given = encoder.tokens, encoder.width
        except PrefixcapError:  # that of a data set's embeddings is unknown until one is read
            return
        if given != (shape.feature_tokens, shape.feature_width):
            expected = _shape_text(shape.feature_tokens, shape.feature_width)
            raise PrefixcapError(
                f"the encoder {to_spec(config)} gives features of shape {_shape_text(*given)}, "
                f"and this run was trained on features of shape {expected}"
            )

    def text_encoder(self) -> TextEncoder | None:
        """Return the text tower of the encoder, built on first use; None without an encoder."""
        if self.encoder is None and self.encoder_config is None:
            return None
        name = type(self.encoder).__name__
        if self.encoder_config is not None:
            name = to_spec(self.encoder_config)
        return TextEncoder(name, self.built_encoder, str(self.device))

    def built_encoder(self) -> Encoder:
        """Return the encoder, built on first use.

        Raises:
            PrefixcapError: If there is none, or its weights are not those of the training.
        """
        if self.encoder is None:
            if self.encoder_config is None:
                raise PrefixcapError(
                    "this run has no image encoder: pass features, or choose an encoder (with "
                    "--encoder, in Python by use_encoder)"
                )
            try:
                self.encoder = self.encoder_config.build(str(self.device))
            except PrefixcapError as error:
                name = self.encoder_config.name
                raise PrefixcapError(
                    f"the image encoder cannot be loaded: {error}; if it is elsewhere now, say "
                    f"where, such as --encoder {name}:...=FILE (in Python by use_encoder)"
                ) from error
            digest = self.encoder.digest()
            if self.encoder_digest is not None and digest != self.encoder_digest:
                raise PrefixcapError(
                    f"the encoder {self.encoder_config.name!r} has other weights ({digest}) than "
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
        neighbors: Sequence[Sequence[str]] | None = None,
    ) -> list[list[Hypothesis]]:
        """Caption images, or features of images.

        Args:
            images: Paths, PIL images or items of a data set; or just one.
            features: (B,D) or (B,N,D), instead of images.
            decoder: A decoder's config, or its spec such as "beam:num_beams=5".
            n: The number of captions per image; by default the decoder's own.
            seed: The seed of all randomness.
            max_new_tokens: The maximum number of tokens per caption.
            image_ids: B names that key the images' random streams; by default the items' ids, the
                file names, or the row numbers.
            max_rows: The maximum number of hypotheses that are extended together.
            neighbors: B lists of captions of similar images, for decoders that compare with them.

        Returns:
            B lists of hypotheses, best first.

        Raises:
            PrefixcapError: If an image cannot be read, or the arguments do not fit the model.
        """
        if (images is None) == (features is None):
            raise PrefixcapError("give either images or features to caption")
        if images is not None:
            one = isinstance(images, (str, Path, ImageItem)) or not isinstance(images, Sequence)
            pictures: list[Any] = [images] if one else list(images)  # type: ignore[arg-type]
            items = [as_item(picture, number) for number, picture in enumerate(pictures)]
            inputs = self.encode(items)
            image_ids = image_ids or [item.id for item in items]
        else:
            inputs = torch.as_tensor(features).float()
        if shift := self.check_feature_shift(inputs):
            warnings.warn(shift, PrefixcapWarning, stacklevel=2)
        captions = self.iter_caption(
            inputs,
            decoder,
            n=n,
            seed=seed,
            max_new_tokens=max_new_tokens,
            image_ids=image_ids,
            max_rows=max_rows,
            neighbors=neighbors,
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
        neighbors: Sequence[Sequence[str]] | None = None,
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Caption features (B,D) or (B,N,D); yield each image's number and hypotheses when done.

        A `prefix` (B,P,E) saves computing `prefixes(features)` again, and `text_encoder` replaces
        the captioner's own; the other arguments are those of `caption`.
        """
        return iter_decode(
            self.decoding_lm,
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
            null_prefix=self._null_prefix(),
            neighbors=neighbors,
        )

    def save(self, folder: str | Path) -> Path:
        """Save the captioner into a folder, for `Captioner.load`.

        Raises:
            PrefixcapError: If `lm_config` is None, or the folder cannot be written.
        """
        if self.lm_config is None:
            raise PrefixcapError("this captioner has no lm_config: set it before saving")
        trained = [name for name, p in self.lm.module.named_parameters() if p.requires_grad]
        state = dict(self.lm.module.named_parameters())
        # Another training may have frozen the tuned model in the meantime.
        frozen = self.tuning_config.trains_lm and not trained
        chosen = list(state) if self.save_lm or frozen else trained
        weights = {f"prefixer.{k}": v for k, v in self.prefixer.state_dict().items()}
        weights |= {f"lm.{name}": state[name].detach() for name in chosen}
        folder, config = Path(folder), self._config(complete=len(chosen) == len(state))
        datastore = None if self.prompts is None else self.prompts.datastore
        checkpoint.write(folder, config, weights, datastore)
        return folder

    def _config(self, *, complete: bool) -> dict[str, Any]:
        configs: dict[str, Component | None] = {
            "encoder": self.encoder_config,
            "mapper": self.mapper_config,
            "tuning": self.tuning_config,
            "lm": self.lm_config,
        }
        if self.bridge_config is not None:
            configs["bridge"] = self.bridge_config
        if self.prompts is not None:
            configs["prompt"] = self.prompts.config
        return {
            **{kind: None if c is None else to_json(absolute(c)) for kind, c in configs.items()},
            "component_versions": {kind: c.version for kind, c in configs.items() if c},
            "shape": attrs.asdict(self.prefixer.shape),
            "stop_ids": list(self.stop_ids),
            "stop_visible": self.stop_visible,
            "dtype": dtype_of(self.lm.module),
            "lm_digest": None if complete else self.lm_digest,
            "lm_probe": probe(self.lm),
            "encoder_digest": self.encoder_digest,
            **self._learned_digest(),
            "training": self.training,
            "seed": self.seed,
            "trained_parameters": self.trained_parameters,
            "history": self.history,
        }

    def _learned_digest(self) -> dict[str, str]:
        bridge = self.prefixer.bridge
        return {} if bridge is None else {"bridge_digest": bridge.digest()}

    @classmethod
    def load(
        cls,
        run: str | Path,
        device: str = "auto",
        dtype: str | None = None,
        *,
        lm: str | LMConfig | None = None,
        registry: Registry | None = None,
    ) -> Captioner:
        """Load a captioner that `save` wrote.

        Args:
            run: Its folder, or that of a study with one model.
            device: "auto" is the GPU if there is one.
            dtype: The dtype of the language model; by default that of the training.
            lm: Where the language model is now, such as "hf:model=FOLDER", if it is no longer where
                it was in the training; its weights have to be the same.
            registry: Where the components are looked up; by default the installed plugins.

        Raises:
            PrefixcapError: If a file is missing, broken or of another format, if the language
                model is not the one of the training, or if the study has several models.
        """
        folder = checkpoint.model_folder(Path(run).expanduser())
        config, weights = checkpoint.read(folder)
        if dtype is not None:
            dtype_named(dtype)
        try:
            registry = registry or default_registry()
            lm_config = None if lm is None else registry.parse(LMConfig, lm)
            parts = restore(
                folder, config, weights, device_named(device), dtype, registry, lm_config=lm_config
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise PrefixcapError(
                f"{folder / checkpoint.CONFIG}: the run's config is broken: {error!r}"
            ) from error
        return cls(**parts)


def _shape_text(tokens: int | None, width: int) -> str:
    return f"({width})" if tokens is None else f"({tokens},{width})"
