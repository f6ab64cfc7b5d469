"""`caption` on image files: folders, lists, unreadable ones, other encoders, several decoders."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from cli_world import World
from PIL import Image

import prefixcap
from prefixcap.captioning.batches import Batching, FeatureBatch, caption_batch
from prefixcap.captioning.image_paths import find_images, read_image_list
from prefixcap.cli import main
from prefixcap.errors import PrefixcapError

Shell = Callable[..., tuple[int, str, str]]


@attrs.frozen
class Photos:
    """Images, their features by scenes-clip, and a run that was trained on the features."""

    images: list[Path]
    features: Path
    run: Path

    def words(self, *more: object) -> list[object]:
        limit = ("--max-new-tokens", 5, "--encode-batch", 3)
        return ["caption", "--run", self.run, "--decoder", "greedy", *limit, *more]


@pytest.fixture(scope="module")
def photos(world: World, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    data = folder / "data"
    shutil.copytree(world.data, data)
    lines = (data / "captions.jsonl").read_text().splitlines()
    images = [data / "images" / json.loads(line)["image"] for line in lines]
    features = prefixcap.encode("scenes-clip", images)
    np.save(data / "features.npy", features.numpy())
    shown = images[-8:]
    np.save(folder / "shown.npy", features[-8:].numpy())
    assert main(["train", *World(data, world.lm).options, "--out", str(folder / "run")]) == 0
    return Photos(shown, folder / "shown.npy", folder / "run")


def copies(photos: Photos, folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path, image in zip(paths, photos.images, strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, path)
    return paths


ENCODER = ("--encoder", "scenes-clip")


def test_a_run_of_features_captions_images_by_their_encoder(
    photos: Photos, shell: Shell, tmp_path: Path
) -> None:
    status, out, err = shell(*photos.words(*ENCODER, "--json"), *photos.images)
    assert status == 0
    assert "warning" not in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["image"] for line in lines] == list(map(str, photos.images))
    _, out, _ = shell(*photos.words("--features", photos.features, "--json"))
    texts = [[line["captions"][0]["text"] for line in part] for part in (lines, jsonl(out))]
    assert texts[0] == texts[1]
    status, _, err = shell(*photos.words(), photos.images[0])
    assert status == 2
    assert "use an encoder of images (`caption --encoder`)" in err
    assert "--skip-unreadable" not in err  # there are no others
    status, _, err = shell(*photos.words("--features", photos.features, *ENCODER))
    assert status == 2
    assert "--encoder encodes images, so it cannot be used with --features" in err


def jsonl(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_other_encoders_are_noticed(photos: Photos, shell: Shell, tmp_path: Path) -> None:
    image = photos.images[0]
    (tmp_path / "ids.txt").write_text(image.name)
    for width in (7, 256):
        features = np.random.default_rng(0).standard_normal((1, width))
        np.save(tmp_path / f"{width}.npy", features.astype(np.float32))
    spec = f"precomputed:path={tmp_path}/{{}}.npy,ids={tmp_path}/ids.txt"
    status, _, err = shell(*photos.words("--encoder", spec.format(7)), image)
    assert status == 2
    assert "gives features of shape (7), and this run was trained on features of shape (256)" in err
    status, out, err = shell(*photos.words("--encoder", spec.format(256)), image)
    assert status == 0
    assert len(out.splitlines()) == 1
    assert err.count("warning: the features differ from those of the training") == 1
    status, _, err = shell(*photos.words("--encoder", "clop"), image)
    assert status == 2
    assert "no encoder 'clop'; did you mean 'clip'" in err


def test_a_photograph_is_unlike_the_drawn_scenes(
    photos: Photos, shell: Shell, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        Image.effect_noise((80, 60), 90).save(tmp_path / f"{name}.png")
    status, out, err = shell(*photos.words(*ENCODER), tmp_path, photos.images[0])
    assert status == 0
    assert len(out.splitlines()) == 3
    warnings = [line for line in err.splitlines() if "warning: " in line and "drawn" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        f"prefixcap: warning: {tmp_path / 'a.png'}: the encoder 'scenes-c"
    )
    assert "prefixcap: warning: 2 of 3 images are like this" in err
    captioner = prefixcap.Captioner.load(photos.run)
    captioner.use_encoder("scenes-clip")
    with pytest.warns(UserWarning, match=r"b\.png: the encoder 'scenes-clip' knows drawn"):
        captioner.caption(tmp_path / "b.png")


def test_drawn_scenes_look_drawn() -> None:
    from prefixcap_scenes.render import looks_drawn

    for example in prefixcap.Scenes(train=9, val=1, test=1).build().examples("train"):
        assert example.image.open is not None
        picture = example.image.open()
        assert looks_drawn(picture)
        assert looks_drawn(picture.resize((300, 300)))
    gradient = np.arange(64)[None] + np.arange(48)[:, None]
    assert not looks_drawn(Image.fromarray(gradient.astype(np.uint8)))


# -------------------------------------------------------------------------- folders and lists


def test_folders_and_lists_give_the_same_as_names(
    photos: Photos, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("album/a.PNG", "album/b.png", "album/c/d.png", "z.png")
    album, paths = tmp_path / "album", copies(photos, tmp_path, *names)
    for other in (".hidden.png", "notes.txt", ".cache/e.png", "c/._d.png"):
        (album / other).parent.mkdir(exist_ok=True)
        (album / other).write_text("no image")
    (album / "c" / "up").symlink_to(album)
    words = photos.words(*ENCODER)
    expected = shell(*words, *paths)
    assert (expected[0], len(expected[1].splitlines())) == (0, 4)
    text = "\n".join(map(str, paths))
    (tmp_path / "list.txt").write_bytes(f"\ufeff{text}\r\n\r\n".replace("\n", "\r\n").encode())
    (tmp_path / "wide.txt").write_text(text, "utf-16")
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(text.replace("\n", "\0").encode()))
    )
    for given in (
        (album, paths[-1]),
        ("--images-from", tmp_path / "list.txt"),
        ("--images-from", tmp_path / "wide.txt"),
        ("--images-from", "-"),
        (album, "--images-from", tmp_path / "last.txt"),
    ):
        (tmp_path / "last.txt").write_text(str(paths[-1]))
        assert shell(*words, *given)[:2] == expected[:2], given


def test_folders_and_lists_without_images_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PrefixcapError, match="the folder has no image file"):
        find_images([tmp_path])
    with pytest.raises(PrefixcapError, match=r"the list of images \S+gone\.txt does not exist"):
        read_image_list(str(tmp_path / "gone.txt"))
    with pytest.raises(PrefixcapError, match="is a folder, not a file"):
        read_image_list(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PrefixcapError, match="is no regular file but a pipe"):
        read_image_list(str(tmp_path / "pipe"))
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(PrefixcapError, match="the list of images is empty"):
        read_image_list(str(tmp_path / "empty.txt"))
    odd = [Path("gone"), Path("nul\0"), Path(os.fsdecode(b"\xff.png"))]
    assert find_images(odd) == odd


# ---------------------------------------------------------------------- nothing done is lost


def test_a_broken_image_loses_no_other(photos: Photos, shell: Shell, tmp_path: Path) -> None:
    paths = copies(photos, tmp_path, *(f"{number}.png" for number in range(8)))
    paths[4].write_bytes(b"no image")
    words = photos.words(*ENCODER, "--json")
    status, out, err = shell(*words, tmp_path)
    assert status == 2
    names = [Path(line["image"]).stem for line in jsonl(out)]
    assert names == ["0", "1", "2", "3", "5"]  # batches of three
    assert err.splitlines()[-1] == (
        f"prefixcap: {paths[4]}: the image cannot be read: its content is of no known image "
        "format; --skip-unreadable captions the others"
    )
    Image.new("L", (1, 9000)).save(paths[6])
    paths[7].unlink()
    os.mkfifo(paths[7])
    status, out, err = shell(*words, tmp_path, tmp_path / "gone.png", "--skip-unreadable")
    assert status == 0
    assert [Path(line["image"]).stem for line in jsonl(out)] == ["0", "1", "2", "3", "5"]
    skipped = [line for line in err.splitlines() if line.startswith("prefixcap: skipped: ")]
    assert [line.split(": ")[2] for line in skipped] == [
        str(tmp_path / name) for name in ("4.png", "6.png", "7.png", "gone.png")
    ]
    assert err.splitlines()[-1] == "prefixcap: 4 of 9 images were skipped"
    status, out, err = shell(*words, paths[4], "--skip-unreadable")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].endswith("1 of 1 images were skipped, and none is left")


def test_what_can_be_known_is_said_before_anything_is_loaded(shell: Shell, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    status, out, err = shell("caption", tmp_path / "pipe.png", "--run", tmp_path / "no-run")
    assert (status, out) == (2, "")
    assert err.endswith("pipe.png: the image cannot be read: it is a pipe, not a file\n")


def test_features_that_are_not_finite_lose_no_other(
    photos: Photos, shell: Shell, tmp_path: Path
) -> None:
    features = np.load(photos.features)
    features[1, 2] = np.nan
    features[3] = 3e38  # finite, but its prefix is not
    np.save(tmp_path / "f.npy", features)
    words = [*photos.words("--features", tmp_path / "f.npy", "--json"), "--max-rows", 4]
    status, out, err = shell(*words)
    assert status == 2
    assert [line["image"] for line in jsonl(out)] == [0, 2]
    assert "are not finite for the image '3'" in err
    status, out, err = shell(*words, "--skip-unreadable")
    assert status == 0
    assert [line["image"] for line in jsonl(out)] == [0, 2, 4, 5, 6, 7]
    assert f"prefixcap: skipped: {tmp_path / 'f.npy'}: row 1 is not finite" in err
    assert err.splitlines()[-1] == "prefixcap: 2 of 8 images were skipped"


def test_lines_come_as_they_are_done_and_a_closed_pipe_is_quiet(
    photos: Photos, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in photos.images) * 500)
    words = photos.words(*ENCODER, "--json", "--images-from", tmp_path / "list")
    code = f"import sys; from prefixcap.cli import main; sys.exit(main({list(map(str, words))}))"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = [json.loads(process.stdout.readline()) for _ in range(9)]
        assert process.poll() is None
        process.stdout.close()
        errors = process.stderr.read().decode()
        assert process.wait() == 1
    assert [line["image"] for line in first] == [str(path) for path in (photos.images * 2)[:9]]
    assert "Traceback" not in errors
    assert "rror" not in errors


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    read: list[str] = []

    class Counting(prefixcap.Encoder):
        width, tokens = 2, None

        def preprocess(self, image: prefixcap.ImageItem) -> torch.Tensor:
            read.append(image.id)
            return torch.ones(2)

        def encode(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs

        def digest(self) -> str:
            return ""

    def failed(error: PrefixcapError) -> None:
        raise error

    batching = Batching(size=4, encode_batch=2, failed=failed)
    batches = batching.of_files(Counting(), [tmp_path / "a.png"] * 40_000)
    for count in (4, 8):
        assert len(next(batches).features) == 4
        assert count <= len(read) <= count + 2  # a batch is read ahead


# --------------------------------------------------------------------------- several decoders


def test_several_decoders_give_a_line_each(photos: Photos, shell: Shell) -> None:
    words = ["caption", "--run", photos.run, *ENCODER, *photos.images[:4], "--max-new-tokens", 5]
    words += ["--encode-batch", 3]
    both = ("--decoder", "greedy,beam:num_beams=3,length_penalty=0.5", "--n", 2)
    status, out, _ = shell(*words, "--json", "--decoder", "top-p", *both)
    assert status == 0
    lines = jsonl(out)
    names = ["top-p", "greedy", "beam:num_beams=3,length_penalty=0.5"]
    assert [line["decoder"] for line in lines] == names * 4
    assert [line["image"] for line in lines] == [str(p) for p in photos.images[:4] for _ in names]
    assert [*lines[0]] == ["image", "decoder", "captions"]
    for name in names:
        alone = jsonl(shell(*words, "--json", "--decoder", name, "--n", 2)[1])
        texts = [[caption["text"] for caption in line["captions"]] for line in alone]
        assert texts == [
            [caption["text"] for caption in line["captions"]]
            for line in lines
            if line["decoder"] == name
        ]
    _, out, _ = shell(*words, "--decoder", "greedy", "--decoder", "top-p")
    assert out.splitlines()[0].startswith(f"{photos.images[0]} [greedy]: ")
    assert out.splitlines()[1].startswith(f"{photos.images[0]} [top-p]: ")


def test_a_decoder_that_depends_on_the_batch_gets_all_images(photos: Photos, shell: Shell) -> None:
    words = ["caption", "--run", photos.run, *ENCODER, *photos.images, "--max-new-tokens", 8]
    decoder = ("--decoder", "guidance:against=mean,scale=3")
    outputs = [shell(*words, *decoder, "--encode-batch", size) for size in (3, 64)]
    assert outputs[0][0] == 0
    assert outputs[0][1] == outputs[1][1]


class Backwards:
    """Stands for a captioner whose decoder ends images in reverse and leaves one out."""

    def prefixes(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def iter_caption(self, features: torch.Tensor, decoder: str, **_: object) -> Any:
        for number in reversed(range(len(features))):
            if (decoder, number) != ("gap", 1):
                yield number, [decoder, number]


def test_images_are_in_order_and_a_missing_one_is_an_error() -> None:
    batch = FeatureBatch(labels=["a", "b", "c"], ids=["a", "b", "c"], features=torch.ones(3, 1))

    def run(*decoders: str) -> Any:
        return caption_batch(Backwards(), batch, {name: name for name in decoders})  # type: ignore[arg-type, misc]

    assert [label for label, _ in run("x", "y")] == ["a", "b", "c"]
    seen: list[tuple[str, dict[str, Any]]] = []
    with pytest.raises(PrefixcapError, match="the decoder returned nothing for the image 'b'"):
        seen.extend(run("x", "gap"))
    decoders = [(label, [*captions]) for label, captions in seen]
    assert decoders == [("a", ["x", "gap"]), ("b", ["x"]), ("c", ["x", "gap"])]
