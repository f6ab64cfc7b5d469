"""`prefixcap import-clipcap`: convert a checkpoint of ClipCap's own code to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefixcap.errors import PrefixcapError
from prefixcap.util.weights import trust_each


def import_clipcap(
    checkpoint: Annotated[
        Path, typer.Argument(help="ClipCap's .pt file: the complete model, or its mapper alone.")
    ],
    mapping_type: Annotated[str, typer.Option(help="Mapper: mlp or transformer.")],
    prefix_length: Annotated[
        int, typer.Option("--prefix-len", "--prefix-length", help="P, the prefix length.")
    ],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    clip_length: Annotated[
        int | None, typer.Option(help="Feature tokens of the transformer mapper, to be checked.")
    ] = None,
    num_layers: Annotated[
        int | None, typer.Option(help="Layers of the transformer mapper, to be checked.")
    ] = None,
    normalize_prefix: Annotated[
        bool,
        typer.Option("--normalize-prefix", help="Features were divided by their norm in training."),
    ] = False,
    feature_scale: Annotated[
        float, typer.Option(help="Factor applied to features after that.")
    ] = 1.0,
    lm: Annotated[
        str,
        typer.Option(
            help="Hub name or folder of the language model's config and tokenizer, and of its "
            "weights if the checkpoint has none."
        ),
    ] = "gpt2",
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            callback=trust_each,
            help="Allow the code in this file to run. Repeatable.",
        ),
    ] = None,
) -> None:
    """Convert a checkpoint of ClipCap's own code to a run for `prefixcap caption`."""
    if not feature_scale > 0:
        raise PrefixcapError(f"--feature-scale must be greater than 0, not {feature_scale}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PrefixcapError(f"--out {out} already exists: give a new or empty folder")
    from prefixcap.cli.output import echo, quiet_stdout

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
    echo(
        f"{out}: mapper {captioner.mapper_config.name}, features of width {shape.feature_width}, "
        f"prefix length {shape.prefix_length}, embeddings of width {shape.embedding_width}"
    )
