"""`prefixcap caption`: caption images, or features, with a trained run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import attrs
import typer

from prefixcap.captioning.batches import Batching, FeatureBatch, caption_batch
from prefixcap.captioning.encode_images import ENCODE_BATCH, read_ids
from prefixcap.captioning.feature_store import FeatureStore
from prefixcap.captioning.image_paths import find_images, read_image_list
from prefixcap.cli import options
from prefixcap.cli.output import echo, echo_json, quiet_stdout
from prefixcap.cli.progress import reporter
from prefixcap.errors import NonFiniteError, PrefixcapError
from prefixcap.interfaces.decoder import DEFAULT_ROWS, DecoderConfig
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.util.images import check_image_file
from prefixcap.util.progress import Silent
from prefixcap.util.runtime import dtype_of
from prefixcap.util.text import visible

if TYPE_CHECKING:
    from prefixcap.captioning.captioner import Captioner
    from prefixcap.interfaces.decoder import Hypothesis
    from prefixcap.util.feature_files import FeatureFile


def caption(
    run: Annotated[Path, typer.Option(help="The output of bench, train or import-clipcap.")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE...", help="Image files, or folders."),
    ] = None,
    images_from: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A list of images or folders, one per line; - is stdin."),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Features (.npy, .safetensors, a store) instead of images.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="A text file with the id of each feature's image, one per line."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encode images by this encoder instead of the run's.")
    ] = None,
    lm: Annotated[
        str | None,
        typer.Option(help="Where the run's language model is now, such as hf:model=FOLDER."),
    ] = None,
    decoder: Annotated[
        list[str] | None,
        typer.Option(help="The decoder, such as beam:num_beams=5. Repeatable, or a comma list."),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="Captions per image.")] = None,
    max_new_tokens: options.MaxNewTokens = None,
    seed: Annotated[int, typer.Option(help="The seed of decoders that sample.")] = 0,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Skip images that cannot be captioned.")
    ] = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    encode_batch: options.EncodeBatch = None,
    max_rows: options.MaxRows = None,
    trust: options.Trust = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one object per line: image and captions.")
    ] = False,
) -> None:
    """Caption images, best first; each is printed when it is done."""
    names = [*(images or []), *(read_image_list(images_from) if images_from else [])]
    if bool(names) == (features is not None):
        raise PrefixcapError("give either image files or --features FILE.npy to caption")
    numbers = {
        "--n": n,
        "--max-new-tokens": max_new_tokens,
        "--encode-batch": encode_batch,
        "--max-rows": max_rows,
    }
    for option, value in numbers.items():
        if value is not None and value < 1:
            raise PrefixcapError(f"{option} must be at least 1, not {value}")
    if ids is not None and features is None:
        raise PrefixcapError("--ids names the rows of --features, so it needs --features too")
    if encoder is not None and features is not None:
        raise PrefixcapError("--encoder encodes images, so it cannot be used with --features")
    paths = find_images(names)
    registry = default_registry()
    decoders = {
        spec: registry.parse(DecoderConfig, spec)
        for spec in options.split_values(decoder, ["beam"])
    }
    encoder_config = None if encoder is None else registry.parse(EncoderConfig, encoder)
    file = None if features is None else _open_features(features)
    row_ids = None if ids is None or file is None else read_ids(ids, len(file))
    if features is not None and features.is_dir():
        row_ids = row_ids or [*FeatureStore.open(features).ids]
    total = len(paths) if file is None else len(file)
    problems = _Problems(skip_unreadable, total)
    if not skip_unreadable:  # report what can be known before anything is loaded
        problems.check_files(paths)
    encode_batch, max_rows = encode_batch or ENCODE_BATCH, max_rows or DEFAULT_ROWS
    size = encode_batch if file is None else max_rows
    if any(config.batch_dependent() for config in decoders.values()):
        size = total
    with quiet_stdout() as out:
        captioner = _load(run, device or "auto", dtype, lm)
        if encoder_config is not None:
            captioner.use_encoder(encoder_config)
        batching = Batching(size=size, encode_batch=encode_batch, failed=problems.failed)
        if file is None:
            batches = batching.of_files(
                captioner.built_encoder(), paths, captioner.doubts, problems.doubted
            )
        else:
            batches = batching.of_features(file, row_ids)
        job = _Job(
            captioner=captioner,
            decoders=decoders,
            settings={
                "n": n,
                "seed": seed,
                "max_new_tokens": max_new_tokens or 40,
                "max_rows": max_rows,
            },
            problems=problems,
            out=out,
            as_json=as_json,
        )
        job.run(batches)


@attrs.define
class _Problems:
    """Tells standard error what is wrong with images, as it happens and in the end."""

    skip: bool
    total: int
    skipped: int = 0
    doubts: int = 0
    is_shifted: bool = False

    def check_files(self, paths: Iterable[Path]) -> None:
        for path in paths:
            try:
                check_image_file(path)
            except PrefixcapError as error:
                self.failed(error)

    def failed(self, error: PrefixcapError, images: int = 1) -> None:
        if not self.skip:
            hint = "; --skip-unreadable captions the others" if self.total > images else ""
            raise PrefixcapError(f"{error}{hint}")
        self.skipped += images
        reporter().message(f"prefixcap: skipped: {error}")

    def doubted(self, doubt: str) -> None:
        if not self.doubts:
            reporter().message(f"prefixcap: warning: {doubt}: its caption means nothing")
        self.doubts += 1

    def shifted(self, shift: str | None) -> None:
        if shift and not self.is_shifted:
            reporter().message(f"prefixcap: warning: {shift}")
        self.is_shifted = self.is_shifted or shift is not None

    def summarize(self, done: int) -> None:
        if self.doubts > 1:
            text = f"{self.doubts} of {self.total} images are like this"
            reporter().message(f"prefixcap: warning: {text}")
        if self.skipped:
            text = f"{self.skipped} of {self.total} images were skipped"
            if not done:
                raise PrefixcapError(f"{text}, and none is left")
            reporter().message(f"prefixcap: {text}")


@attrs.frozen(kw_only=True)
class _Job:
    """What batches are captioned with, and where captions are printed."""

    captioner: Captioner
    decoders: Mapping[str, DecoderConfig]
    settings: Mapping[str, Any]
    problems: _Problems
    out: TextIO
    as_json: bool

    def run(self, batches: Iterable[FeatureBatch]) -> None:
        # on a terminal, the captions themselves show the progress
        report = Silent() if self.out.isatty() else reporter()
        done = 0
        with report.task("captioning", self.problems.total, "images") as task:
            for batch in batches:
                self.problems.shifted(self.captioner.check_feature_shift(batch.features))
                captions = caption_batch(self.captioner, batch, self.decoders, **self.settings)
                try:
                    for label, by_decoder in captions:
                        self._print(label, by_decoder)
                        done += 1
                        task.update(done + self.problems.skipped)
                except NonFiniteError as error:
                    self.problems.failed(error, len(error.images))
        self.problems.summarize(done)

    def _print(self, label: str | int, captions: Mapping[str, Sequence[Hypothesis]]) -> None:
        for decoder, hypotheses in captions.items():
            named = {"decoder": decoder} if len(self.decoders) > 1 else {}
            if self.as_json:
                texts = [each.to_json() for each in hypotheses]
                echo_json({"image": label, **named, "captions": texts}, self.out)
                continue
            place = visible(label) + "".join(f" [{visible(name)}]" for name in named.values())
            for hypothesis in hypotheses:
                echo(f"{place}: {visible(hypothesis.text)}", self.out)


def _load(run: Path, device: str, dtype: str | None, lm: str | None) -> Captioner:
    from prefixcap.captioning.captioner import Captioner
    from prefixcap.study.execution.checks import slow_dtype

    captioner = Captioner.load(run, device, dtype, lm=lm)
    if slow := slow_dtype(str(captioner.device), dtype_of(captioner.lm.module)):
        reporter().message(f"prefixcap: {slow}")
    return captioner


def _open_features(path: Path) -> FeatureFile:
    from prefixcap.util.feature_files import FeatureFile

    try:
        return FeatureStore.open(path).file if path.is_dir() else FeatureFile(path)
    except PrefixcapError as error:
        raise PrefixcapError(f"--features {error}") from error
