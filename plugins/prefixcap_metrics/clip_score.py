"""CLIPScore and RefCLIPScore, by any encoder with a text side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.metric import Metric, Record, Scores
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin import specs
from prefixcap.plugin.text_encoders import named_text_encoder

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT = 2.5
USUAL = "ViT-B/32"
PROMPT = "A photo depicts"
"""The paper's model and prompt, whose scores have the plain names."""

# features of images that were encoded for scoring; all cells of a study have the same items
_ENCODED: dict[tuple[str, int], tuple[ImageItem, Tensor]] = {}
REMEMBERED = 50_000


class ClipScoreMetric(Metric):
    """CLIPScore and RefCLIPScore.

    Args:
        encoder: the spec of a CLIP that encodes the images anew; "" for the records' features.
        text: the spec of the CLIP whose text side is used; "" for the records' own.
        prompt: what stands before every caption.
    """

    def __init__(self, encoder: str, text: str, prompt: str) -> None:
        self._encoder = encoder
        self._text = text
        self._told = prompt
        self._prompt = f"{prompt} " if prompt else ""

    def score(self, records: Sequence[Record]) -> Scores:
        """Scores all records.

        Raises:
            PrefixcapError: a record has no feature, or there is no text side that fits it.
        """
        side = self._side(records)
        captions = [self._prompt + record.prediction for record in records]
        vectors = side.encode(captions)
        cosines = side.compare(self._features(records, side), vectors)
        each = tuple(WEIGHT * max(cosine, 0.0) for cosine in cosines)
        nearest = _nearest(side, vectors, self._references(records))
        both = tuple(_harmonic(a, b) for a, b in zip(each, nearest, strict=True))
        which = label(side, self._told)
        per_image = {f"CLIPScore{which}": each, f"RefCLIPScore{which}": both}
        return Scores(values={k: fmean(v) for k, v in per_image.items()}, per_image=per_image)

    def _side(self, records: Sequence[Record]) -> TextEncoder:
        side = records[0].text_encoder
        if self._encoder or self._text:
            device = "auto" if side is None else side.device
            return named_text_encoder(self._encoder or self._text, device)
        if side is None:
            raise PrefixcapError(
                f"the encoder of the image {records[0].image!r} was not given, so its caption "
                "cannot be compared with it"
            )
        return side

    def _features(self, records: Sequence[Record], side: TextEncoder) -> Tensor:
        import torch

        if self._encoder:
            return _encoded(self._encoder, side, records)
        features = []
        for record in records:
            if record.feature is None:
                raise PrefixcapError(f"the feature of the image {record.image!r} was not given")
            features.append(record.feature)
        return torch.stack(features)

    def _references(self, records: Sequence[Record]) -> list[list[str]]:
        return [[self._prompt + text for text in record.references] for record in records]


def label(side: TextEncoder, prompt: str) -> str:
    """Returns what a score's name ends in: what differs from the paper, which CLIP and prompt.

    A checkpoint is told by its file's name and its weights, as another one may have the same name.
    """
    name, settings = specs.split(side.name)
    model = settings.get("model", USUAL) if name == "clip" else side.name
    if name == "clip" and Path(model).expanduser().is_file():
        model = f"{Path(model).name}@{side.encoder.digest()[:8]}"
    told = [model] if model != USUAL else []
    told += [f"prompt={prompt}"] if prompt != PROMPT else []
    # no comma, which parts the names of scores in the shell
    return f"[{';'.join(told).replace(',', ';')}]" if told else ""


def _encoded(spec: str, side: TextEncoder, records: Sequence[Record]) -> Tensor:
    import torch

    from prefixcap.captioning.encode_images import encode

    items = []
    for record in records:
        if record.item is None:
            raise PrefixcapError(f"the image {record.image!r} itself was not given")
        items.append(record.item)
    new = [item for item in items if (spec, id(item)) not in _ENCODED]
    if new:
        if len(_ENCODED) + len(new) > REMEMBERED:
            _ENCODED.clear()
            new = items
        rows = encode(side.encoder, new)
        # with its item, so that no other one takes its number
        _ENCODED.update({(spec, id(i)): (i, row) for i, row in zip(new, rows, strict=True)})
    return torch.stack([_ENCODED[spec, id(item)][1] for item in items])


def _nearest(
    side: TextEncoder, vectors: Tensor, references: Sequence[Sequence[str]]
) -> list[float]:
    """Computes each caption's highest cosine, of vectors (T,D), with a reference; at least 0."""
    import torch

    flat = side.encode([text for texts in references for text in texts], remember=True)
    parts = torch.split(flat, [len(texts) for texts in references])
    return [max(0.0, float((part @ row).max())) for part, row in zip(parts, vectors, strict=True)]


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else 0.0
