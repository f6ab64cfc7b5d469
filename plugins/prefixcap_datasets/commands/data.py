"""`prefixcap data check`, `data show` and `data export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from prefixcap.errors import PrefixcapError
from prefixcap.util.weights import trust_each

if TYPE_CHECKING:
    from prefixcap.interfaces.dataset import Dataset

Spec = Annotated[
    str, typer.Argument(metavar="DATASET", help="The data set, such as coco:path=FOLDER.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Splits = Annotated[
    list[str] | None,
    typer.Option(
        "--split", help="Only the images of this split. Repeatable, or a comma list; default: all."
    ),
]


def add_data(app: typer.Typer) -> None:
    """Add the commands to the shell."""
    data = typer.Typer(rich_markup_mode=None)
    data.command("check")(check)
    data.command("show")(show)
    data.command("export")(export)
    app.add_typer(data, name="data", help="Check, show and export data sets.")


def check(
    dataset: Spec,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Read no images: captions and embeddings only.")
    ] = False,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Look for pairs of images that look alike.")
    ] = False,
    distance: Annotated[
        int, typer.Option(help="Bits of 64 in which the hashes of near duplicates may differ.")
    ] = 4,
    as_json: AsJson = False,
) -> None:
    """Check a data set's images, captions and splits; the exit status is 1 if it has problems."""
    from prefixcap.cli.output import echo, echo_json, quiet_stdout
    from prefixcap.cli.progress import reporter
    from prefixcap.interfaces.dataset import DatasetConfig
    from prefixcap.plugin.registry import default_registry
    from prefixcap_datasets.commands.check import lines
    from prefixcap_datasets.commands.findings import check_dataset
    from prefixcap_datasets.commands.near import MOST_BITS
    from prefixcap_datasets.problems import noting

    if not 0 <= distance <= MOST_BITS:
        raise PrefixcapError(f"--distance must be from 0 to {MOST_BITS}, not {distance}")
    if near_duplicates and no_images:
        raise PrefixcapError("--near-duplicates reads images: leave out --no-images")
    config = default_registry().parse(DatasetConfig, dataset)
    with quiet_stdout():
        with noting() as noted:
            opened = config.build()
        with reporter().task("reading", count_images(opened, opened.splits), "images") as task:
            findings = check_dataset(
                opened,
                noted,
                images=not no_images,
                near=distance if near_duplicates else None,
                progress=task.update,
            )
    if as_json:
        echo_json({"dataset": dataset, **findings.to_json()})
    else:
        for line in lines(findings):
            echo(line)
    if findings.problems:
        raise typer.Exit(1)


def show(
    dataset: Spec,
    split: Splits = None,
    count: Annotated[int, typer.Option(help="How many images.")] = 5,
    seed: Annotated[int, typer.Option(help="The seed of the choice.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show some images of a data set: their ids, files, sizes and captions."""
    from prefixcap.cli.options import split_values
    from prefixcap.cli.output import echo, echo_json, quiet_stdout
    from prefixcap.interfaces.dataset import DatasetConfig
    from prefixcap.plugin.registry import default_registry
    from prefixcap_datasets.commands.show import lines, sample

    if count < 1:
        raise PrefixcapError(f"--count must be at least 1, not {count}")
    with quiet_stdout() as out:
        opened = default_registry().parse(DatasetConfig, dataset).build()
        splits = named_splits(opened, split_values(split, opened.splits))
        chosen = sample(opened, splits, count, seed)
        if as_json:
            sizes = {name: len(opened.examples(name)) for name in opened.splits}
            echo_json({"dataset": dataset, "splits": sizes, "images": list(chosen)}, out)
            return
        for image in chosen:
            for line in lines(image):
                echo(line, out)


def export(
    dataset: Spec,
    out: Annotated[Path, typer.Option(help="The folder to write, which must be new or empty.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format", help="coco, karpathy, flickr, jsonl, webdataset or clipcap (embeddings)."
        ),
    ],
    split: Splits = None,
    images: Annotated[
        str,
        typer.Option(
            help="Image files: link (hard links, which take no space; copies where the file system "
            "has none), copy, or none."
        ),
    ] = "link",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Makes the embeddings of clipcap and jsonl; default: the data set's own."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="The encoder's: auto (a GPU if there is one), cpu, cuda or cuda:1.")
    ] = "auto",
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            callback=trust_each,
            help="Allow the code in this file of weights to run. Repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a data set in a format that prefixcap reads again."""
    from prefixcap.cli.options import split_values
    from prefixcap.cli.output import echo, echo_json, quiet_stdout
    from prefixcap.cli.progress import reporter
    from prefixcap.interfaces.dataset import DatasetConfig
    from prefixcap.interfaces.encoder import EncoderConfig
    from prefixcap.plugin.registry import default_registry
    from prefixcap.util.runtime import device_named
    from prefixcap.util.text import visible
    from prefixcap_datasets.writers.export import check_settings, export_dataset, spec_of

    check_settings(format_, out, images, has_encoder=encoder is not None)
    registry = default_registry()
    config = None if encoder is None else registry.parse(EncoderConfig, encoder)
    with quiet_stdout() as stdout:
        opened = registry.parse(DatasetConfig, dataset).build()
        splits = named_splits(opened, split_values(split, opened.splits))
        built = None if config is None else config.build(device_named(device))
        with reporter().task("writing", count_images(opened, splits), "images") as task:
            written = export_dataset(
                opened,
                format_,
                out,
                splits=splits,
                images=images,
                encoder=built,
                progress=task.update,
            )
    spec = spec_of(format_, out)
    if as_json:
        echo_json({"out": str(out), "format": format_, "dataset": spec, **written}, stdout)
        return
    for name, count in written["splits"].items():
        echo(f"{visible(name)}: {count:,} images", stdout)
    counts = ", ".join(f"{count:,} {how}" for how, count in written["images"].items() if count)
    echo(f"{written['captions']:,} captions; image files: {counts or 'none'}", stdout)
    echo(f"read it with --dataset {quote(spec)}", stdout)


def named_splits(dataset: Dataset, names: Sequence[str]) -> list[str]:
    """Return the splits that names such as "validation" mean, each once."""
    from prefixcap.interfaces.dataset import find_split

    return list(dict.fromkeys(find_split(dataset.splits, name) or name for name in names))


def count_images(dataset: Dataset, splits: Sequence[str]) -> int:
    """Return the number of images of splits."""
    return sum(len(dataset.examples(split)) for split in splits)
