"""Images are read as people see them, or refused with a sentence; whatever the file is."""

from __future__ import annotations

import os
import re
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from PIL import Image, ImageCms, ImageDraw
from torch import Tensor

import prefixcap
from prefixcap.captioning.encode_images import encode
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.study.analysis.contact_sheet import load_picture
from prefixcap.util import images
from prefixcap.util.images import open_image, read_image

WIDTH, HEIGHT = 48, 32
RAMP = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)


Image.init()
SAVED = {suffix[1:] for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE}
"""The suffixes that this version of Pillow can write."""
OLD = int(PIL.__version__.split(".")[0]) < 11


def pixels(path: Path) -> np.ndarray:
    image = open_image(path)
    assert image.mode == "RGB"
    assert not image.info
    return np.asarray(image).astype(int)


def rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[:, :, None], 3, 2).astype(int)


def on_white(rgba: np.ndarray) -> np.ndarray:
    share = rgba[:, :, 3:] / 255
    return np.round(rgba[:, :, :3] * share + 255 * (1 - share)).astype(int)


# -------------------------------------------------------------------------------- what is seen

QUARTERS = np.kron(
    np.array([[[250, 5, 5], [5, 250, 5]], [[5, 5, 250], [250, 250, 250]]], np.uint8),
    np.ones((16, 24, 1), np.uint8),
)
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),  # the camera was turned left
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif", "mpo"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photos_are_turned_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    if suffix not in SAVED:
        pytest.skip(f"this Pillow writes no {suffix}")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(QUARTERS).save(path, exif=exif, quality=95)
    expected, seen = UPRIGHT[orientation](QUARTERS), pixels(path)
    assert seen.shape == expected.shape
    inside = np.s_[4:12, 4:12], np.s_[-12:-4, 4:12], np.s_[4:12, -12:-4], np.s_[-12:-4, -12:-4]
    for quarter in inside:
        assert np.abs(seen[quarter] - expected[quarter]).max() < 40
    again = read_image(lambda: open_image(path), "again")
    assert np.array_equal(np.asarray(again), seen)


@pytest.mark.parametrize("value", [0, 9, b"\xff" * 40])
def test_a_meaningless_orientation_turns_nothing(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif: Any = b"Exif\0\0" + value if isinstance(value, bytes) else Image.Exif()
    if not isinstance(value, bytes):
        exif[0x0112] = value
    Image.fromarray(QUARTERS).save(path, exif=exif)
    assert pixels(path).shape == QUARTERS.shape


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("8.png", RAMP),
        ("16.png", RAMP.astype(np.uint16) * 257),
        ("16.tif", RAMP.astype(np.uint16) * 257),
        ("16.jp2", RAMP.astype(np.uint16) * 257),
        ("16.pgm", RAMP.astype(np.int32) * 257),
        ("16 in 32.tif", RAMP.astype(np.int32) * 257),
        ("31.tif", (RAMP.astype(np.int64) * (2**31 - 1) // 255).astype(np.int32)),
        ("bilevel.png", RAMP > 127),
    ],
)
def test_integer_grays_are_scaled(name: str, values: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / name)
    expected = (RAMP > 127) * 255 if values.dtype == bool else RAMP
    assert np.array_equal(pixels(tmp_path / name), rgb(expected))


def packed(values: np.ndarray) -> np.ndarray:
    """Put pairs of 12 bits into three bytes each."""
    left, right = values[:, ::2], values[:, 1::2]
    parts = (left >> 4, (left & 15) << 4 | right >> 8, right & 255)
    return np.stack(parts, 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("bits", "tags", "values"),
    [
        (32, {339: 1}, (RAMP.astype(np.uint64) * 0x01010101).astype("<u4")),
        (16, {339: 2}, (RAMP.astype(np.uint32) * 32767 // 255).astype("<u2")),
        (16, {262: 0}, (65535 - RAMP.astype(np.uint32) * 257).astype("<u2")),
        (12, {}, packed(RAMP.astype(np.uint32) * 4095 // 255)),
    ],
    ids=["unsigned", "signed", "white is zero", "12 bits"],
)
def test_other_integer_grays_of_tiff(
    bits: int, tags: dict[int, int], values: np.ndarray, tmp_path: Path
) -> None:
    """Pillow does not write these, so the files are written here."""
    entries = {256: 256, 257: 4, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4}
    entries |= {279: values.nbytes, **tags}
    directory = np.array(len(entries), "<u2").tobytes()
    for tag, value in sorted(entries.items()):
        directory += struct.pack("<HHII", tag, 4, 1, value)
    offset = struct.pack("<I", 8 + values.nbytes)
    content = b"II*\0" + offset + values.tobytes() + directory + bytes(4)
    (tmp_path / "gray.tif").write_bytes(content)
    assert np.abs(pixels(tmp_path / "gray.tif") - rgb(RAMP)).max() <= (bits == 12)


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    drawing = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    ImageDraw.Draw(drawing).ellipse((20, 20, 40, 40), fill=(0, 0, 0, 255))
    expected = on_white(np.asarray(drawing))
    gray = Image.merge("LA", (drawing.getchannel("R"), drawing.getchannel("A")))
    palette = drawing.quantize(8)
    halved = Image.fromarray((expected // 2).astype(np.uint8))
    sixteen = expected[:, :, 0].astype(np.uint16) * 9
    files: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rgba.png": (drawing, {}),
        "rgba.tif": (drawing, {}),
        "rgba.webp": (drawing, {"lossless": True}),
        "la.png": (gray, {}),
        "palette.png": (palette, {}),
        "palette.gif": (drawing, {}),
        "gray.png": (halved.getchannel(0), {"transparency": 127}),
        "rgb.png": (halved, {"transparency": (127, 127, 127)}),
        "bit.png": (halved.getchannel(0).point(lambda v: v * 2).convert("1"), {"transparency": 1}),
        "16.png": (Image.fromarray(sixteen), {"transparency": 2295}),
    }
    if OLD:  # which cannot write it
        del files["16.png"]
    for name, (image, options) in files.items():
        image.save(tmp_path / name, **options)
        assert np.array_equal(pixels(tmp_path / name), expected), name
    for mode in ("PA", "La", "RGBa"):
        source = {"PA": palette, "La": gray, "RGBa": drawing}[mode].convert(mode)
        seen = np.asarray(read_image(lambda image=source: image, mode))
        assert np.array_equal(seen, expected), mode


def test_half_transparent_pixels_are_mixed_with_white(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "noise.png")
    assert np.abs(pixels(tmp_path / "noise.png") - on_white(NOISE)).max() <= 1


COLORS = {
    "red": (255, 0, 0),
    "green": (0, 160, 0),
    "blue": (0, 0, 200),
    "gray": (128, 128, 128),
    "white": (255, 255, 255),
}


@pytest.mark.parametrize("color", COLORS.values(), ids=COLORS)
@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("CMYK", "jpg"), ("CMYK", "tif"), ("YCbCr", "jpg"), ("YCbCr", "tif"), ("LAB", "tif")],
)
def test_other_color_spaces(
    mode: str, suffix: str, color: tuple[int, int, int], tmp_path: Path
) -> None:
    image = Image.new("RGB", (16, 16), color)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
        assert converted is not None
        image = converted
    else:
        image = image.convert(mode)
    path = tmp_path / f"image.{suffix}"
    if OLD and (mode, suffix) == ("YCbCr", "tif"):
        pytest.skip("this Pillow cannot read what it writes")
    image.save(path, quality=95)
    assert np.abs(pixels(path) - np.array(color)).max() < 26  # Lab has 8 bits


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    red, blue = (Image.new("RGB", (20, 10), color) for color in ("red", "blue"))
    for name in (f"a.{suffix}" for suffix in ("gif", "png", "webp", "tif", "avif")):
        if name[2:] not in SAVED:
            continue
        red.save(tmp_path / name, save_all=True, append_images=[blue], duration=100)
        assert np.abs(pixels(tmp_path / name) - (255, 0, 0)).max() < 9, name


def test_color_profiles_are_left_alone(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(NOISE[:, :, :3]).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(pixels(tmp_path / "a.png"), NOISE[:, :, :3])


# ---------------------------------------------------------------------------- what is refused


def refused(path: Path, reason: str) -> None:
    with pytest.raises(PrefixcapError, match=f"^{re.escape(str(path))}: .*{reason}"):
        open_image(path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (RAMP.astype(np.float32) / 255, "floating-point pixels, .*: save it with 8 or 16 bits"),
        (RAMP.astype(np.int32) - 100, "negative pixels, .*: save it with 8 or 16 bits"),
    ],
)
def test_pixels_without_a_range_are_refused(
    values: np.ndarray, reason: str, tmp_path: Path
) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    refused(tmp_path / "a.tif", reason)


def test_narrow_and_large_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ((1, 500_000), (500_000, 1), (10, 2001)):
        Image.new("L", size).save(tmp_path / "narrow.png")
        refused(tmp_path / "narrow.png", f"{size[0]} x {size[1]} pixels is too narrow: .*200 times")
    Image.new("L", (10, 2000)).save(tmp_path / "panorama.png")
    assert open_image(tmp_path / "panorama.png").size == (10, 2000)
    buffer = BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    bomb = bytearray(buffer.getvalue())
    bomb[16:24] = struct.pack(">II", 20_000, 20_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    (tmp_path / "bomb.png").write_bytes(bomb)
    refused(tmp_path / "bomb.png", "more than 178,956,970 pixels")
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    Image.new("L", (20, 20)).save(tmp_path / "large.png")
    refused(tmp_path / "large.png", "20 x 20 pixels is too large: at most 100 pixels")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    refused(tmp_path / "bomb.png", "is too large")  # also where a program has lifted Pillow's limit


def test_files_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo("pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "lost.png").symlink_to("nowhere.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        for name, reason in {
            "pipe.png": "it is a pipe, not a file",
            "folder.png": "it is a folder, not a file",
            "socket.png": "it is a socket, not a file",
            "/dev/zero": "it is a device, not a file",
            "empty.png": "the file is empty",
            "loop.png": "Too many levels of symbolic links",
            "lost.png": "the image does not exist",
            "gone.png": "the image does not exist",
            "a" * 300: "File name too long",
            "nul\0.png": "null",
        }.items():
            refused(Path(name), reason)
    Image.new("RGB", (8, 8), "red").save("image.png")
    (tmp_path / "link.png").symlink_to("image.png")
    assert open_image(Path("link.png")).size == (8, 8)


def test_postscript_is_not_run(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    refused(tmp_path / "a.eps", "PostScript is a program, which is not run")


def test_a_wrong_name_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(NOISE[:, :, :3]).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(pixels(tmp_path / "a.jpg"), NOISE[:, :, :3])


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("AVIF"),
        NotImplementedError("DDS"),
        MemoryError(),
        Image.DecompressionBombError(),
    ],
)
def test_any_error_of_a_decoder_names_the_image(error: Exception) -> None:
    def opener() -> Image.Image:
        raise error

    with pytest.raises(PrefixcapError, match=r"^place: the image cannot be read: "):
        read_image(opener, "place")


# ------------------------------------------------------------- all formats, whole and damaged

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I", "F")
SUFFIXES = (
    *("avif", "blp", "bmp", "dds", "dib", "eps", "gif", "icns", "ico", "im", "jp2", "jpg"),
    *("mpo", "msp", "pbm", "pcx", "png", "ppm", "qoi", "sgi", "spider", "tga", "tif", "webp"),
    "xbm",
)
EXACT = {"bmp", "dib", "gif", "im", "jp2", "pcx", "png", "ppm", "qoi", "sgi", "tga", "tif"}


def encoded(suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yield a file of every mode that Pillow can write in a format."""
    base = Image.fromarray(NOISE[:, :, :3]).resize((WIDTH, HEIGHT), reducing_gap=None)
    kind = {"spider": "SPIDER"}.get(suffix) or Image.registered_extensions()[f".{suffix}"]
    for mode in MODES:
        image = Image.new(mode, base.size)
        if mode in ("RGB", "L", "LA", "P", "1", "RGBA", "CMYK", "YCbCr", "HSV"):
            image = base.convert(mode)
        buffer = BytesIO()
        try:
            image.save(buffer, kind)
        except (OSError, ValueError, KeyError, SystemError):  # the format has no such mode
            continue
        yield mode, buffer.getvalue()


def damaged(content: bytes) -> Iterator[bytes]:
    size = len(content)
    yield from (content[: size * part // 8] for part in (0, 1, 6))
    yield content[: size // 2] + bytes(size - size // 2)
    yield content[:16] + bytes(size)
    yield b"\xff\xd8\xff\xe0" + content
    for seed in range(2):
        stream = np.random.default_rng(seed)
        changed = bytearray(content)
        for place in stream.integers(0, min(size, 64 if seed % 2 else size), 4):
            changed[place] = stream.integers(256)
        yield bytes(changed)


def read(path: Path) -> Image.Image | None:
    """Read a file, or check that its error is a sentence that names it."""
    try:
        return open_image(path)
    except PrefixcapError as error:
        sentence = str(error)
    assert sentence.startswith(f"{path}: ")
    assert len(sentence.splitlines()) == 1
    return None


@pytest.mark.filterwarnings("ignore")
def test_every_format_whole_and_damaged(tmp_path: Path) -> None:
    whole = total = 0
    for suffix in sorted(SAVED.intersection(SUFFIXES) | {"spider"}):
        for mode, content in encoded(suffix):
            path = tmp_path / f"{mode.replace(';', '-')}.{suffix}"
            path.write_bytes(content)
            image = read(path)
            whole, total = whole + (image is not None), total + 1
            if image is not None and suffix not in ("ico", "icns"):
                assert image.size == (WIDTH, HEIGHT)
            if mode == "RGB" and suffix in EXACT - {"gif"}:
                assert np.array_equal(pixels(path), NOISE[:, :, :3]), suffix
            for number, part in enumerate(damaged(content)):
                broken = path.with_name(f"{number}-{path.name}")
                broken.write_bytes(part)
                read(broken)
                total += 1
                broken.unlink()
    assert whole > 60
    assert total > 1000


# ----------------------------------------------------------------------- encoded as it is shown


class Pixels(prefixcap.Encoder):
    """An encoder of a plugin that opens its image in the usual way."""

    width, tokens = 3, None

    def preprocess(self, image: ImageItem) -> Tensor:
        assert image.open is not None
        with image.open() as picture:
            return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32))

    def encode(self, inputs: Tensor) -> Tensor:
        height, width = inputs.shape[1] // 2, inputs.shape[2] // 2
        return inputs[:, :height, :width].mean((1, 2))

    def digest(self) -> str:
        return "pixels"


def test_what_is_shown_is_what_is_encoded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(QUARTERS).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(NOISE).save(tmp_path / "alpha.png")
    for name in ("turned.png", "16.png", "alpha.png"):
        path = tmp_path / name
        # of a data set of a plugin, which opens its files in the usual way
        items = [ImageItem(id=name, index=0, path=path, open=lambda path=path: Image.open(path))]
        opener = items[0].open
        assert opener is not None
        shown = load_picture(opener)
        assert shown is not None
        features = [encode(Pixels(), [given]) for given in (path, str(path), shown, items[0])]
        with Image.open(path) as opened:
            features.append(encode(Pixels(), [opened]))
        for feature in features[1:]:
            assert torch.equal(features[0], feature), name
    assert encode(Pixels(), [tmp_path / "turned.png"])[0].tolist() == [5, 5, 250]


def test_an_image_of_the_caller_stays_open(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 10), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as animation:
        features = [encode(Pixels(), [animation])]
        animation.seek(1)
        features.append(encode(Pixels(), [animation]))
    assert [feature[0].argmax().item() for feature in features] == [0, 2]


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(PrefixcapError, match=r"image 0 .* not ndarray"):
        encode(Pixels(), [NOISE])  # type: ignore[list-item]
