"""`python -m scenes_pretrain clip|gpt2 --out DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Parse the command line and train the model."""
    parser = argparse.ArgumentParser(prog="python -m scenes_pretrain")
    parser.add_argument("model", choices=("clip", "gpt2"))
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--steps", type=int, help="number of training steps")
    parser.add_argument("--threads", type=int, default=2, help="number of CPU threads")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    steps = {} if arguments.steps is None else {"steps": arguments.steps}
    if arguments.model == "gpt2":
        from scenes_pretrain import gpt2

        gpt2.pretrain(arguments.out, **steps)
    else:
        from scenes_pretrain import clip

        clip.pretrain(arguments.out, **steps)


if __name__ == "__main__":
    main()
