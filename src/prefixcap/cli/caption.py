"""`prefixcap caption`: caption images, or features, with a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.captioning.encode_images import ENCODE_BATCH, read_ids
from prefixcap.cli import options
from prefixcap.cli.output import echo, echo_json, quiet_stdout
from prefixcap.cli.progress import reporter
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DEFAULT_ROWS, DecoderConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.util.runtime import dtype_of
from prefixcap.util.text import visible

if TYPE_CHECKING:
    from torch import Tensor

    from prefixcap.captioning.captioner import Captioner
    from prefixcap.interfaces.decoder import Hypothesis


def caption(
    run: Annotated[Path, typer.Option(help="The output of bench, train or import-clipcap.")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE...", help="Image files.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Features (.npy or .safetensors) instead of images.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="A text file with the id of each feature's image, one per line."),
    ] = None,
    lm: Annotated[
        str | None,
        typer.Option(help="Where the run's language model is now, such as hf:model=FOLDER."),
    ] = None,
    decoder: Annotated[str, typer.Option(help="The decoder, such as beam:num_beams=5.")] = "beam",
    n: Annotated[int | None, typer.Option("--n", help="Captions per image.")] = None,
    max_new_tokens: options.MaxNewTokens = None,
    seed: Annotated[int, typer.Option(help="The seed of decoders that sample.")] = 0,
    device: options.Device = None,
    dtype: options.Dtype = None,
    encode_batch: options.EncodeBatch = None,
    max_rows: options.MaxRows = None,
    trust: options.Trust = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one object per line: image and captions.")
    ] = False,
) -> None:
    """Caption images, best first."""
    paths = list(images or [])
    if bool(paths) == (features is not None):
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
    for path in paths:
        if not path.is_file():
            raise PrefixcapError(f"{path}: there is no such image file")
    config = default_registry().parse(DecoderConfig, decoder)
    array = None if features is None else _read_features(features)
    names = None if ids is None or array is None else read_ids(ids, len(array))
    with quiet_stdout():
        captioner = _load(run, device or "auto", dtype, lm)
        inputs = array
        if inputs is None:
            inputs = captioner.encode(paths, batch_size=encode_batch or ENCODE_BATCH)
        captions = _caption(
            captioner,
            inputs,
            decoder=config,
            n=n,
            seed=seed,
            max_new_tokens=max_new_tokens or 40,
            max_rows=max_rows or DEFAULT_ROWS,
            image_ids=[path.name for path in paths] or names,
        )
    labels = names or list(map(str, paths)) or [*range(len(captions))]
    for label, hypotheses in zip(labels, captions, strict=True):
        if as_json:
            echo_json({"image": label, "captions": [each.to_json() for each in hypotheses]})
        else:
            for hypothesis in hypotheses:
                echo(f"{visible(label)}: {visible(hypothesis.text)}")


def _load(run: Path, device: str, dtype: str | None, lm: str | None) -> Captioner:
    from prefixcap.captioning.captioner import Captioner
    from prefixcap.study.execution.checks import slow_dtype

    captioner = Captioner.load(run, device, dtype, lm=lm)
    if slow := slow_dtype(str(captioner.device), dtype_of(captioner.lm.module)):
        reporter().message(f"prefixcap: {slow}")
    return captioner


def _caption(captioner: Captioner, features: Tensor, **settings: Any) -> list[list[Hypothesis]]:
    from prefixcap.decoding.decode import collect

    if shift := captioner.check_feature_shift(features):
        reporter().message(f"prefixcap: warning: {shift}")
    captions = []
    with reporter().task("captioning", len(features), "images") as task:
        for caption in captioner.iter_caption(features, **settings):
            captions.append(caption)
            task.update(len(captions))
    return collect(captions, len(features))


def _read_features(path: Path) -> Tensor:
    import numpy as np
    import torch

    from prefixcap.util.feature_files import FeatureFile

    try:
        file = FeatureFile(path)
    except PrefixcapError as error:
        raise PrefixcapError(f"--features {error}") from error
    features = np.stack([file.row(index) for index in range(len(file))])
    if not np.isfinite(features).all():
        rows = np.flatnonzero(~np.isfinite(features).reshape(len(features), -1).all(1))
        raise PrefixcapError(f"--features {path}: row {rows[0]} is not finite")
    return torch.from_numpy(features)
