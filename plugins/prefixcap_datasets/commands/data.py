"""`prefixcap data check`, `data show` and `data export`."""

from __future__ import annotations

from typing import Annotated

import typer

from prefixcap.errors import PrefixcapError

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

    if not 0 <= distance <= MOST_BITS:
        raise PrefixcapError(f"--distance must be from 0 to {MOST_BITS}, not {distance}")
    if near_duplicates and no_images:
        raise PrefixcapError("--near-duplicates reads images: leave out --no-images")
    config = default_registry().parse(DatasetConfig, dataset)
    with quiet_stdout(), reporter().task("reading", 0, "images") as task:
        findings = check_dataset(
            config,
            images=not no_images,
            near=distance if near_duplicates else None,
            progress=lambda done, total: task.update(done, total),
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
        splits = split_values(split, opened.splits)
        chosen = sample(opened, splits, count, seed)
        if as_json:
            sizes = {name: len(opened.examples(name)) for name in opened.splits}
            echo_json({"dataset": dataset, "splits": sizes, "images": list(chosen)}, out)
            return
        for image in chosen:
            for line in lines(image):
                echo(line, out)
