"""Config of ConZIC's Gibbs sampling with a masked language model."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.validators import at_least, one_of, path_text
from prefixcap.util.text_files import expanded
from prefixcap_decoders.guided.config import text_towers
from prefixcap_decoders.logits.settings import TEMPERATURE

ORDERS = ("shuffle", "sequential", "random")


@attrs.frozen(kw_only=True)
class ConZIC(DecoderConfig):
    """ConZIC: rewrite a caption word by word with a masked language model and CLIP.

    Zeng et al. 2023, "ConZIC: Controllable Zero-shot Image Captioning by Sampling-Based Polishing"
    (arXiv:2303.02437). A caption of `length` masks; at one place after the other, of the `top_k`
    tokens that the masked model finds likeliest there, take the one with the highest alpha p(token)
    + beta c, where c is the softmax over these tokens of CLIP's similarity of the image and the
    caption with the token. Of the captions after each sweep, the most similar to the image is
    returned. The study's own language model neither sees the image nor writes: it splits the
    captions into tokens and gives their log-probability. Needs the image's feature and an encoder
    with a text tower; no part of it is trained.

    Attributes:
        mlm: Folder or name on the hub of a masked language model of transformers with its
            tokenizer; only safetensors are read.
        length: Number of the masked model's tokens.
        sweeps: How often each place is rewritten.
        alpha: Weight of the masked model.
        beta: Weight of CLIP.
        top_k: Number of candidates for a place, each a text for CLIP.
        temperature: Divisor of the masked model's logits.
        clip_temperature: Divisor of the cosine similarities.
        order: Order of the places: "shuffle" draws one for all sweeps, "sequential" goes from left
            to right, "random" draws a place for every step.
        prompt: Text before the caption, for both models, which is no part of it.
        text: The encoder whose text tower is used, such as `clip:model=ViT-B/32` (";" for ","); by
            default the encoder of the features.
        n: Number of captions per image, each with an order of its own, best first.
    """

    name: ClassVar[str] = "conzic"

    mlm: str = attrs.field(
        default="bert-base-uncased", validator=[attrs.validators.min_len(1), path_text]
    )
    length: int = attrs.field(default=10, validator=at_least(1))
    sweeps: int = attrs.field(default=10, validator=at_least(1))
    alpha: float = attrs.field(default=0.02, converter=float, validator=at_least(0))
    beta: float = attrs.field(default=2.0, converter=float, validator=at_least(0))
    top_k: int = attrs.field(default=200, validator=at_least(1))
    temperature: float = attrs.field(default=0.1, converter=float, validator=TEMPERATURE)
    clip_temperature: float = attrs.field(default=0.01, converter=float, validator=TEMPERATURE)
    order: str = attrs.field(default="shuffle", validator=one_of(ORDERS))
    prompt: str = "Image of a"
    text: str = ""
    n: int = attrs.field(default=1, validator=at_least(1))

    @override
    def build(self) -> Decoder:
        from prefixcap_decoders.guided.conzic import ConZICSampler

        return ConZICSampler(self)

    @override
    def subcomponents(self) -> Sequence[Component]:
        return text_towers(self.text)

    @override
    def external_digests(self) -> Sequence[str]:
        """Digest the files of the masked language model's folder."""
        folder, digest = expanded(self.mlm), sha256()
        try:
            files = [f for pattern in ("*.json", "*.txt", "*.safetensors", "*.model")
                     for f in sorted(folder.glob(pattern)) if f.is_file()]  # fmt: skip
            for file in files:
                digest.update(repr((file.name, sha256(file.read_bytes()).digest())).encode())
        except OSError as error:
            reason = error.strerror or error
            raise PrefixcapError(f"mlm: {shown(str(folder))} cannot be read: {reason}") from error
        return [digest.hexdigest()[:16]] if files else []
