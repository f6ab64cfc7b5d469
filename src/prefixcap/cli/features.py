"""`prefixcap features`: encode images into a store of features, or show one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from prefixcap.captioning.encode_images import ENCODE_BATCH
from prefixcap.captioning.feature_store import INFO, TYPES, FeatureStore, make_store
from prefixcap.captioning.image_paths import find_images, read_image_list
from prefixcap.cli import options
from prefixcap.cli.output import echo, echo_json, quiet_stdout
from prefixcap.cli.progress import reporter
from prefixcap.errors import PrefixcapError, nearest
from prefixcap.interfaces.dataset import NO_INDEX, DatasetConfig, ImageItem
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.util.images import open_image
from prefixcap.util.runtime import device_named
from prefixcap.util.text import visible


def features(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE...", help="Image files, or folders; or a store to show."),
    ] = None,
    images_from: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A list of images or folders, one per line; - is stdin."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Encode the images of all splits of a data set instead.")
    ] = None,
    encoder: Annotated[str, typer.Option(help="The image encoder.")] = "clip",
    out: Annotated[Path | None, typer.Option(help="The store's folder.")] = None,
    dtype: Annotated[str, typer.Option(help=f"Of the stored features: {', '.join(TYPES)}.")] = (
        "float32"
    ),
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Skip and list images that cannot be read.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare a store's features with their hash.")
    ] = False,
    device: options.Device = None,
    encode_batch: options.EncodeBatch = None,
    trust: options.Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Encode images into a store of features, once each, or show a store."""
    names = [*(images or []), *(read_image_list(images_from) if images_from else [])]
    if out is None:
        if len(names) != 1 or dataset is not None:
            raise PrefixcapError("give --out DIR to make a store, or one store's folder to show it")
        if not (names[0] / INFO).exists() and names[0].exists():
            raise PrefixcapError(f"{names[0]} is not a store of features; to make one, give --out")
        store = FeatureStore.open(names[0])
        if verify:
            store.verify()
        _print(store, as_json)
        return
    if bool(names) == (dataset is not None):
        raise PrefixcapError("give either images or --dataset SPEC to encode")
    if dtype not in TYPES:
        raise PrefixcapError(f"--dtype {dtype!r} is not one of a store{nearest(dtype, TYPES)}")
    if encode_batch is not None and encode_batch < 1:
        raise PrefixcapError(f"--encode-batch must be at least 1, not {encode_batch}")
    registry = default_registry()
    config = registry.parse(EncoderConfig, encoder)
    with quiet_stdout() as stdout:
        items = _of_files(names) if dataset is None else _of_dataset(dataset)
        built = config.build(device_named(device or "auto"))
        report = reporter()

        def failed(error: PrefixcapError) -> None:
            if not skip_unreadable:
                raise PrefixcapError(f"{error}; --skip-unreadable encodes the others")
            report.message(f"prefixcap: skipped: {error}")

        with report.task("encoding", len(items), "images") as task:
            first = True

            def progress(done: int) -> None:
                nonlocal first
                (task.resume if first and done < len(items) else task.update)(done)
                first = False

            store = make_store(
                out,
                config,
                built,
                items,
                dtype=dtype,
                batch_size=encode_batch or ENCODE_BATCH,
                failed=failed,
                progress=progress,
            )
    _print(store, as_json, stdout)


def _of_dataset(spec: str) -> list[ImageItem]:
    dataset = default_registry().parse(DatasetConfig, spec).build()
    return [e.image for split in dataset.splits for e in dataset.examples(split)]


def _of_files(names: Sequence[Path]) -> list[ImageItem]:
    """Name images by their paths in the folders that were given."""

    def item(path: Path, root: Path) -> ImageItem:
        return ImageItem(
            id=path.relative_to(root).as_posix(),
            index=NO_INDEX,
            path=path,
            open=lambda: open_image(path),
        )

    return [
        item(path, name if name.is_dir() else name.parent)
        for name in names
        for path in find_images([name])
    ]


def _print(store: FeatureStore, as_json: bool, out: Any = None) -> None:
    count, *row = store.file.shape
    found = {
        "store": str(store.path),
        "encoder": store.info["encoder"],
        "encoder_digest": store.info["encoder_digest"],
        "shape": list(store.file.shape),
        "dtype": store.info["dtype"],
        "bytes": store.file.path.stat().st_size,
        "statistics": store.info["statistics"],
        "unreadable": store.info["unreadable"],
    }
    if as_json:
        echo_json(found, out)
        return
    statistics = store.info["statistics"]
    echo(f"{visible(str(store.path))}: {count} images, {store.info['dtype']} {tuple(row)}", out)
    echo(f"encoder: {visible(store.info['encoder'])} ({store.info['encoder_digest']})", out)
    echo(
        f"features: norm {statistics['norm']:.4g} (standard deviation "
        f"{statistics['norm_std']:.4g}), root mean square {statistics['rms']:.4g}",
        out,
    )
    echo(f"unreadable images: {len(store.info['unreadable'])}", out)
    for error in store.info["unreadable"].values():
        echo(f"  {visible(error)}", out)
