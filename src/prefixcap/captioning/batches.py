"""Images and features, batch by batch, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.captioning.encode_images import Doubts, EncodedImage, as_item, iter_encoded
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.captioner import Captioner
    from prefixcap.interfaces.decoder import DecoderConfig, Hypothesis
    from prefixcap.interfaces.encoder import Encoder
    from prefixcap.util.feature_files import FeatureFile


@attrs.frozen(kw_only=True, eq=False)
class FeatureBatch:
    """The features of some images.

    Attributes:
        labels: Their paths, ids or numbers, for output.
        ids: What keys their random streams.
        features: (B,D) or (B,N,D), float32, finite.
    """

    labels: Sequence[str | int]
    ids: Sequence[str]
    features: Tensor


@attrs.frozen(kw_only=True)
class Batching:
    """How images are read.

    Attributes:
        size: The number of images that are captioned together.
        encode_batch: The number of images that are encoded together.
        failed: Gets the error of each image that cannot be read, after the others of its batch;
            it may raise the error.
    """

    size: int
    encode_batch: int
    failed: Callable[[PrefixcapError], None]

    def of_files(
        self,
        encoder: Encoder,
        paths: Sequence[Path],
        doubts: Doubts | None = None,
        doubted: Callable[[str], None] = lambda text: None,
    ) -> Iterator[FeatureBatch]:
        """Encode image files; `doubted` gets what `doubts` says of one, with the file's name."""
        items = [as_item(path, number) for number, path in enumerate(paths)]
        part: list[EncodedImage] = []
        for batch in iter_encoded(encoder, items, batch_size=self.encode_batch, doubts=doubts):
            for image in batch:
                if image.doubt is not None:
                    doubted(image.doubt)
            part += batch
            if len(part) >= self.size:
                yield from self._of_encoded(part)
                part = []
        if part:
            yield from self._of_encoded(part)

    def _of_encoded(self, images: Sequence[EncodedImage]) -> Iterator[FeatureBatch]:
        names, ids = [str(image.item.path) for image in images], [image.item.id for image in images]
        features, errors = [image.feature for image in images], [image.error for image in images]
        return self._batches(names, ids, features, errors)

    def of_features(
        self, file: FeatureFile, ids: Sequence[str] | None = None
    ) -> Iterator[FeatureBatch]:
        """Read the rows of a file of features; `ids` are by default the numbers of the rows."""
        import torch

        for start in range(0, len(file), self.size):
            numbers = range(start, min(start + self.size, len(file)))
            rows = [torch.from_numpy(file.row(number)) for number in numbers]
            errors = [
                None
                if torch.isfinite(row).all()
                else PrefixcapError(f"{file.path}: row {number} is not finite")
                for number, row in zip(numbers, rows, strict=True)
            ]
            names = [ids[number] if ids else str(number) for number in numbers]
            yield from self._batches(names if ids else numbers, names, rows, errors)

    def _batches(
        self,
        labels: Sequence[str | int],
        ids: Sequence[str],
        rows: Sequence[Tensor | None],
        errors: Sequence[PrefixcapError | None],
    ) -> Iterator[FeatureBatch]:
        import torch

        good = [number for number, error in enumerate(errors) if error is None]
        features = [row for number in good if (row := rows[number]) is not None]
        if features:
            yield FeatureBatch(
                labels=[labels[number] for number in good],
                ids=[ids[number] for number in good],
                features=torch.stack(features),
            )
        for error in errors:
            if error is not None:
                self.failed(error)


def caption_batch(
    captioner: Captioner,
    batch: FeatureBatch,
    decoders: Mapping[str, DecoderConfig],
    **settings: Any,
) -> Iterator[tuple[str | int, dict[str, list[Hypothesis]]]]:
    """Caption a batch with decoders, and yield each image's label and captions by decoder.

    Images are yielded in order, as soon as all before them are done. If a decoder raises an
    error, it is raised after the images that have captions. `settings` are those of
    `Captioner.iter_caption`.

    Raises:
        PrefixcapError: If an image has no captions.
    """
    prefix = captioner.prefixes(batch.features)
    done: dict[str, dict[int, list[Hypothesis]]] = {}
    failure: PrefixcapError | None = None
    following = 0
    for name, decoder in decoders.items():
        captions = done[name] = {}
        try:
            for number, hypotheses in captioner.iter_caption(
                batch.features, decoder, prefix=prefix, image_ids=batch.ids, **settings
            ):
                captions[number] = hypotheses
                if len(done) == len(decoders):
                    while all(following in each for each in done.values()):
                        yield batch.labels[following], {d: c[following] for d, c in done.items()}
                        following += 1
        except PrefixcapError as error:
            failure = failure or error
    for number in range(following, len(batch.labels)):
        rest = {name: captions[number] for name, captions in done.items() if number in captions}
        if rest:
            yield batch.labels[number], rest
        if len(rest) < len(decoders) and failure is None:
            label = batch.labels[number]
            failure = PrefixcapError(f"the decoder returned nothing for the image {label!r}")
    if failure is not None:
        raise failure
