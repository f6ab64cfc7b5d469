"""CLIPScore and RefCLIPScore, by any encoder with a text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin import specs
from prefixcap.plugin.setting_types import unquoted
from prefixcap.plugin.text_encoders import named_text_encoder

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT = 2.5
# the paper's model and prompt, whose scores have names without a suffix
PAPER_MODEL = "ViT-B/32"
PAPER_PROMPT = "A photo depicts"

# features of encoded images, shared by all cells of a study, with their items so that no other
# item gets the same id()
_FEATURES: dict[tuple[str, int], tuple[ImageItem, Tensor]] = {}
MAX_CACHED = 50_000


class ClipScoreMetric(Metric):
    """CLIPScore and RefCLIPScore.

    Args:
        encoder: Spec of a CLIP that encodes the images again, or "" for the records' features.
        text: Spec of the CLIP whose text encoder is used, or "" for that of the records.
        prompt: Text before every caption.
    """

    def __init__(self, encoder: str, text: str, prompt: str) -> None:
        self._encoder = encoder
        self._text = text
        self._prompt = prompt

    @override
    def score(self, records: Sequence[Record]) -> Scores:
        text_encoder = self._text_encoder(records)
        vectors = text_encoder.encode([self._prompted(record.prediction) for record in records])
        cosines = text_encoder.compare(self._features(records, text_encoder), vectors)
        scores = tuple(WEIGHT * max(cosine, 0.0) for cosine in cosines)
        references = [[self._prompted(text) for text in record.references] for record in records]
        closest = _reference_cosines(text_encoder, vectors, references)
        with_references = tuple(_harmonic_mean(a, b) for a, b in zip(scores, closest, strict=True))
        label = score_suffix(text_encoder, self._prompt)
        per_image = {f"CLIPScore{label}": scores, f"RefCLIPScore{label}": with_references}
        return Scores(values={k: fmean(v) for k, v in per_image.items()}, per_image=per_image)

    def _prompted(self, text: str) -> str:
        return f"{self._prompt} {text}" if self._prompt else text

    def _text_encoder(self, records: Sequence[Record]) -> TextEncoder:
        encoder = records[0].text_encoder
        if self._encoder or self._text:
            device = "auto" if encoder is None else encoder.device
            return named_text_encoder(self._encoder or self._text, device)
        if encoder is None:
            raise PrefixcapError(
                f"the encoder of the image {records[0].image!r} is unknown, so its caption cannot "
                "be compared with it"
            )
        return encoder

    def _features(self, records: Sequence[Record], text_encoder: TextEncoder) -> Tensor:
        import torch

        if self._encoder:
            return _encode_images(self._encoder, text_encoder, records)
        features = []
        for record in records:
            if record.feature is None:
                raise PrefixcapError(f"the feature of the image {record.image!r} is missing")
            features.append(record.feature)
        return torch.stack(features)


def score_suffix(text_encoder: TextEncoder, prompt: str) -> str:
    """Return the suffix of a score's name: the CLIP and the prompt if they are not the paper's.

    A checkpoint gets its file name and part of its digest, because file names are not unique.
    """
    name, settings = specs.split(text_encoder.name)
    model = unquoted(settings.get("model", PAPER_MODEL)) if name == "clip" else text_encoder.name
    if name == "clip" and Path(model).expanduser().is_file():
        model = f"{Path(model).name}@{text_encoder.encoder.digest()[:8]}"
    parts = [model] if model != PAPER_MODEL else []
    parts += [f"prompt={prompt}"] if prompt != PAPER_PROMPT else []
    # no comma, which separates the names of scores in the shell
    return f"[{';'.join(parts).replace(',', ';')}]" if parts else ""


def _encode_images(spec: str, text_encoder: TextEncoder, records: Sequence[Record]) -> Tensor:
    import torch

    from prefixcap.captioning.encode_images import encode

    items = []
    for record in records:
        if record.item is None:
            raise PrefixcapError(f"the image {record.image!r} itself is missing")
        items.append(record.item)
    new = [item for item in items if (spec, id(item)) not in _FEATURES]
    if new:
        if len(_FEATURES) + len(new) > MAX_CACHED:
            _FEATURES.clear()
            new = items
        rows = encode(text_encoder.encoder, new)
        _FEATURES.update({(spec, id(i)): (i, row) for i, row in zip(new, rows, strict=True)})
    return torch.stack([_FEATURES[spec, id(item)][1] for item in items])


def _reference_cosines(
    text_encoder: TextEncoder, vectors: Tensor, references: Sequence[Sequence[str]]
) -> list[float]:
    """Return the highest cosine of each caption (T,D) with a reference, at least 0."""
    import torch

    flat = text_encoder.encode([text for texts in references for text in texts], remember=True)
    parts = torch.split(flat, [len(texts) for texts in references])
    return [max(0.0, float((part @ row).max())) for part, row in zip(parts, vectors, strict=True)]


def _harmonic_mean(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else 0.0
