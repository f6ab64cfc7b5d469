"""Run the commands of the page about COCO on a small copy in its formats, with small models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_world import COLOURS, write_lm
from PIL import Image
from small_clip import small_clip

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "coco.md"
# in the test, weights are files, and models and captions are small
SMALL = {
    "--encoder clip ": "--encoder clip:model=clip.pt ",
    "hf:model=gpt2": "hf:model=gpt2-small,init=random",
    "clip_length=40,num_layers=8": "clip_length=2,num_layers=1,heads=2",
    "--prefix-len 40": "--prefix-len 2",
    "1,10,20": "1,3",
    "--seed 0,1,2": "--seed 0,1",
    "--metrics bleu,meteor,rouge,cider": "--metrics bleu --no-baselines",
    "--metrics bleu,cider": "--metrics length --no-baselines",
    "--recipe clipcap": "--recipe clipcap --epochs 1 --max-new-tokens 6",
}
SPLITS = ["train"] * 12 + ["val"] * 3 + ["test"] * 3 + ["restval"] * 2


def commands() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line[2:] for line in lines if line.startswith("$ prefixcap")]


def make_coco(folder: Path) -> list[str]:
    """Write 20 images with two captions each; return the captions."""
    (folder / "annotations").mkdir(parents=True)
    images, annotations, photos = {}, {}, []
    for number, split in enumerate(SPLITS, 1):
        part = "train2014" if split == "train" else "val2014"
        colour = list(COLOURS)[number % len(COLOURS)]
        file = f"COCO_{part}_{number:012d}.jpg"
        (folder / part).mkdir(exist_ok=True)
        image = Image.new("RGB", (40 + number, 40), COLOURS[colour])  # no two are the same
        image.save(folder / part / file)
        images.setdefault(part, []).append({"id": number, "file_name": file})
        texts = [f"A {colour} ball on grass.", f"There is a {colour} ball."]
        for text in texts:
            entry = {"image_id": number, "id": len(photos), "caption": text}
            annotations.setdefault(part, []).append(entry)
        photos.append(
            {
                "filepath": part,
                "filename": file,
                "imgid": number,
                "split": split,
                "cocoid": number,
                "sentences": [{"raw": text} for text in texts],
            }
        )
    for part, listed in images.items():
        data = {"images": listed, "annotations": annotations[part]}
        (folder / "annotations" / f"captions_{part}.json").write_text(json.dumps(data))
    (folder / "dataset_coco.json").write_text(json.dumps({"images": photos}))
    return [entry["caption"] for part in annotations.values() for entry in part]


@pytest.mark.timeout(900)
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    write_lm(tmp_path / "gpt2-small", make_coco(tmp_path / "coco"))
    torch.save(small_clip().state_dict(), tmp_path / "clip.pt")
    page = commands()
    assert len(page) == 7
    unused = set(SMALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in page:
        for full, small in SMALL.items():
            unused -= {full} if full in command else set()
            command = command.replace(full, small)
        done = subprocess.run(
            ["bash", "-ceu", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert not unused
    rows = json.loads((tmp_path / "runs/lengths/scores.json").read_text())["rows"]
    assert len(rows) == 4
    assert {row["split"] for row in rows} == {"val"}
    captions = (tmp_path / "captions.jsonl").read_text().splitlines()
    assert len(captions) == SPLITS.count("val") + SPLITS.count("test") + SPLITS.count("restval")
