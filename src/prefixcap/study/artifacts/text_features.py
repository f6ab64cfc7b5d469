"""Embeddings of a study's captions, computed once and stored by a key of encoder and text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example
from prefixcap.plugin import specs
from prefixcap.study.artifacts import timings
from prefixcap.study.artifacts.features import Features
from prefixcap.study.artifacts.locks import shared
from prefixcap.study.artifacts.shards import Shards

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.feature_rows import FeatureRows

CHUNK = 2048
"""The number of texts per file."""
BATCH = 256
"""The number of texts that are encoded together."""


@attrs.define(kw_only=True, slots=False)
class TextFeatures:
    """The embeddings of captions by the text side of the encoder of image features.

    The key of an embedding covers the encoder, as that of an image's feature, and the text.
    """

    features: Features

    @cached_property
    def _shards(self) -> Shards:
        folder = self.features.folder
        return Shards(job=self.features.job, folder=folder.with_name(f"{folder.name}-texts"))

    @property
    def spec(self) -> str:
        """The encoder's spec."""
        return specs.to_spec(self.features.config)

    def check(self, examples: Sequence[Example]) -> None:
        """Try the encoder's text side on two captions, before anything is encoded.

        Raises:
            PrefixcapError: If it has none, or images have several vectors or another width.
        """
        encoder = self.features.encoder
        vectors = self._encode(list(texts_of(examples[:2]))[:2])
        try:
            tokens, width = encoder.tokens, encoder.width
        except PrefixcapError:  # of a data set's embeddings, it is unknown until one is read
            return
        if tokens is not None:
            raise PrefixcapError(
                f"--train-on texts needs one vector per image, and the encoder {self.spec} gives "
                f"{tokens} of width {width}: use its pooled features"
            )
        if width != vectors.shape[1]:
            raise PrefixcapError(
                f"--train-on texts needs images and texts in one space, and those of the encoder "
                f"{self.spec} have widths {width} and {vectors.shape[1]}"
            )

    def encode(self, split: str, examples: Sequence[Example]) -> None:
        """Encode the captions of a split that have no embedding yet, or whose file was altered."""
        job = self.features.job
        self._shards.discard_altered()
        missing = self.missing(examples)
        if not missing:
            return
        # complete chunks, so that a resumed encoding has the same batches
        every = list(dict.fromkeys(texts_of(examples)))
        chunks = [every[start : start + CHUNK] for start in range(0, len(every), CHUNK)]
        left = set(missing)
        chunks = [chunk for chunk in chunks if left.intersection(chunk)]
        done = 0
        with job.reporter.task(f"encoding {split} captions", len(missing), "captions") as task:
            for chunk in shared(chunks, lambda chunk: self._shards.path(_keys(chunk))):
                known, _ = self._shards.known()
                texts = [text for text in chunk if _key(text) not in known]
                if not texts:  # another process has just encoded them
                    continue
                begin = time.perf_counter()
                vectors = self._encode(texts)
                self._shards.write(dict(zip(_keys(texts), vectors, strict=True)))
                done += len(texts)
                task.update(done)
                seconds = time.perf_counter() - begin
                timings.record(job, timings.TEXTS, self.spec, len(texts), seconds)

    def rows(self, examples: Iterable[Example]) -> FeatureRows:
        """Return the embeddings (T,D) of all captions, which are encoded, image by image."""
        keys = _keys(texts_of(examples))
        return self._shards.rows(keys, specs.digest("texts", self.features.key, keys))

    def missing(self, examples: Iterable[Example]) -> list[str]:
        """Return the captions, each once, that no process has encoded yet."""
        known, _ = self._shards.known()
        return [text for text in dict.fromkeys(texts_of(examples)) if _key(text) not in known]

    def shards(self, examples: Iterable[Example]) -> set[Path]:
        """Return the files that hold captions of the examples."""
        return self._shards.files(_keys(texts_of(examples)))

    def _encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts into vectors (T,D), float32, on the CPU."""
        import torch

        encoded = []
        for start in range(0, len(texts), BATCH):
            vectors = self.features.encoder.encode_text(texts[start : start + BATCH])
            if vectors is None:
                raise PrefixcapError(
                    f"--train-on texts needs the embeddings of captions, and the encoder "
                    f"{self.spec} has no text side: use one of images and texts such as clip, "
                    "open-clip or hf-vision, or precomputed with texts=FILE"
                )
            encoded.append(vectors.float().cpu())
        result = torch.cat(encoded).clone()  # tensors of inference mode cannot be trained on
        if not bool(result.isfinite().all()):
            row = int((~result.isfinite()).any(1).nonzero()[0])
            raise PrefixcapError(
                f"the encoder {self.spec} gives the caption {texts[row]!r} an embedding that is "
                "not finite"
            )
        return result


def texts_of(examples: Iterable[Example]) -> list[str]:
    """Return the captions of all examples, those of the first image first."""
    return [text for example in examples for text in example.references]


def _keys(texts: Iterable[str]) -> list[str]:
    return [_key(text) for text in texts]


def _key(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
