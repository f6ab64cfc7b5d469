"""`prefixcap caption`: captions images, or features, by a trained run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefixcap.captioning.encode_images import read_ids
from prefixcap.cli import options
from prefixcap.cli.output import quiet_stdout
from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.interfaces.decoder import Hypothesis


def caption(
    run: Annotated[Path, typer.Option(help="What bench, train or import-clipcap wrote.")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE...", help="Image files.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Features (.npy or .safetensors) instead of images.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="A text file with the name of each feature's image, a line each."),
    ] = None,
    decoder: Annotated[str, typer.Option(help="The decoder, such as beam:num_beams=5.")] = "beam",
    n: Annotated[int | None, typer.Option("--n", help="How many captions an image.")] = None,
    max_new_tokens: options.MaxNewTokens = None,
    seed: Annotated[int, typer.Option(help="The seed of decoders that draw.")] = 0,
    device: options.Device = None,
    dtype: options.Dtype = None,
    encode_batch: options.EncodeBatch = None,
    max_rows: options.MaxRows = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an object a line: image and captions.")
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
        raise PrefixcapError("--ids names the rows of --features: give these too")
    for path in paths:
        if not path.is_file():
            raise PrefixcapError(f"{path}: there is no such image file")
    _check_decoder(decoder)
    given = None if features is None else _features(features)
    named = None if ids is None or given is None else read_ids(ids, len(given))
    with quiet_stdout():
        found = _caption(
            run,
            {"images": paths} if given is None else {"features": given},
            (device or "auto", dtype),
            {
                **({} if named is None else {"image_ids": named}),
                "decoder": decoder,
                "n": n,
                "seed": seed,
                "max_new_tokens": max_new_tokens or 40,
                **({} if max_rows is None else {"max_rows": max_rows}),
            },
            encode_batch,
        )
    names: list[str | int] = [*map(str, paths)] if features is None else [*range(len(found))]
    names = names if named is None else [*named]
    for name, hypotheses in zip(names, found, strict=True):
        typer.echo(_line(name, hypotheses, as_json))


def _caption(
    run: Path,
    what: dict[str, Any],
    where: tuple[str, str | None],
    how: dict[str, Any],
    encode_batch: int | None,
) -> list[list[Hypothesis]]:
    from prefixcap.util.runtime import patch_torchvision

    patch_torchvision()
    import torch

    from prefixcap.captioning.captioner import Captioner
    from prefixcap.captioning.encode_images import ENCODE_BATCH
    from prefixcap.cli.progress import reporter
    from prefixcap.decoding.decode import iter_decode
    from prefixcap.study.execution.checks import slow_dtype

    captioner = Captioner.load(run, *where)
    number_format = str(next(captioner.lm.module.parameters()).dtype).removeprefix("torch.")
    if slow := slow_dtype(str(captioner.device), number_format):
        reporter().message(f"prefixcap: {slow}")
    if "images" in what:
        features = captioner.encode(what["images"], batch_size=encode_batch or ENCODE_BATCH)
        how["image_ids"] = [path.name for path in what["images"]]
    else:
        features = torch.from_numpy(what["features"])
    if unlike := captioner.check_feature_shift(features):
        reporter().message(f"prefixcap: warning: {unlike}")
    found: list[list[Hypothesis]] = [[] for _ in features]
    with reporter().task("captioning", len(features), "images") as task:
        decoded = iter_decode(
            captioner.lm,
            captioner.prefixes(features),
            stop_ids=captioner.stop_ids,
            stop_visible=captioner.stop_visible,
            features=features,
            encoder=captioner.text_encoder(),
            **how,
        )
        for done, (number, hypotheses) in enumerate(decoded, 1):
            found[number] = hypotheses
            task.update(done)
    return found


def _check_decoder(spec: str) -> None:
    from prefixcap.interfaces.decoder import DecoderConfig
    from prefixcap.plugin.registry import default_registry

    default_registry().parse(DecoderConfig, spec)


def _features(path: Path) -> Any:
    import numpy as np

    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            tensors = load_file(path)
            if len(tensors) != 1:
                raise PrefixcapError(
                    f"{path}: expected one tensor of features, found {sorted(tensors)}"
                )
            found = next(iter(tensors.values()))
        else:
            found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise PrefixcapError(f"--features {path}: there is no such file") from None
    except PrefixcapError:
        raise
    except Exception as error:  # numpy and safetensors each have errors of their own
        raise PrefixcapError(
            f"--features {path}: cannot be read as .npy or .safetensors: {error}"
        ) from error
    if found.ndim not in (2, 3) or found.dtype.kind not in "fiu":
        raise PrefixcapError(
            f"--features {path}: expected numbers (B,D) or (B,N,D), found {found.dtype} of shape "
            f"{found.shape}"
        )
    if not len(found):
        raise PrefixcapError(f"--features {path}: there are no rows in it")
    if not np.isfinite(found).all():
        rows = np.flatnonzero(~np.isfinite(found).reshape(len(found), -1).all(1))
        raise PrefixcapError(f"--features {path}: row {rows[0]} is not finite")
    return found.astype("float32")


def _line(name: str | int, hypotheses: list[Hypothesis], as_json: bool) -> str:
    if as_json:
        from prefixcap.study.artifacts.captions import as_json as hypothesis_as_json

        captions = [hypothesis_as_json(hypothesis) for hypothesis in hypotheses]
        return json.dumps({"image": name, "captions": captions})
    return "\n".join(f"{name}: {hypothesis.text}" for hypothesis in hypotheses)
