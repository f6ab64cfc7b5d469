"""`python -m prefixcap_scenes.pretrain clip|gpt2 --out DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Reads the command line and trains what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m prefixcap_scenes.pretrain")
    parser.add_argument("what", choices=("clip", "gpt2"))
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--steps", type=int, help="train for so many batches instead")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    steps = {} if arguments.steps is None else {"steps": arguments.steps}
    if arguments.what == "gpt2":
        from prefixcap_scenes.pretrain import gpt2

        gpt2.pretrain(arguments.out, **steps)
    else:
        from prefixcap_scenes.pretrain import clip

        clip.pretrain(arguments.out, **steps)


if __name__ == "__main__":
    main()
