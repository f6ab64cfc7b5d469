"""`prefixcap import-clipcap`: a run of what ClipCap's own code trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefixcap.errors import PrefixcapError


def import_clipcap(
    checkpoint: Annotated[
        Path, typer.Argument(help="ClipCap's .pt file: the whole model, or its mapper alone.")
    ],
    mapping_type: Annotated[str, typer.Option(help="The mapper: mlp or transformer.")],
    prefix_length: Annotated[
        int, typer.Option("--prefix-len", "--prefix-length", help="P, the prefix length.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the run to write.")],
    clip_length: Annotated[
        int | None,
        typer.Option(help="The feature tokens of the transformer mapper; checked where given."),
    ] = None,
    num_layers: Annotated[
        int | None,
        typer.Option(help="The layers of the transformer mapper; checked where given."),
    ] = None,
    normalize_prefix: Annotated[
        bool,
        typer.Option(
            "--normalize-prefix", help="Features were divided by their norm before training."
        ),
    ] = False,
    feature_scale: Annotated[
        float, typer.Option(help="What features are then multiplied by.")
    ] = 1.0,
    lm: Annotated[
        str,
        typer.Option(
            help="A hub name or a folder: the language model's config and tokenizer, and its "
            "weights where the checkpoint holds the mapper alone."
        ),
    ] = "gpt2",
) -> None:
    """Turn a checkpoint of ClipCap's own code into a run that `prefixcap caption` reads."""
    if not feature_scale > 0:
        raise PrefixcapError(f"--feature-scale must be greater than 0, not {feature_scale}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PrefixcapError(f"--out {out} is there already: give a folder that is new or empty")
    from prefixcap.cli.output import quiet_stdout

    with quiet_stdout():
        from prefixcap_clipcap.convert import import_checkpoint

        captioner = import_checkpoint(
            checkpoint,
            mapping_type,
            prefix_length,
            clip_length=clip_length,
            num_layers=num_layers,
            normalize_prefix=normalize_prefix,
            feature_scale=feature_scale,
            lm=lm,
        )
        captioner.save(out)
    shape = captioner.prefixer.shape
    typer.echo(
        f"{out}: mapper {captioner.mapper_config.name}, features of width {shape.feature_width}, "
        f"prefix length {shape.prefix_length}, embeddings of width {shape.embedding_width}"
    )
