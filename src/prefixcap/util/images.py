"""Read images as people see them: upright, 8-bit RGB, on a white ground.

Whatever encodes or shows an image reads it here, so what is shown is what is encoded. Color
profiles (ICC) are not applied, as in CLIP's own preprocessing; of an animation, the first frame is
read.
"""

from __future__ import annotations

import stat
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 178_956_970
"""The largest number of pixels, Pillow's own limit; such an image takes about 2 GB to read."""
MAX_RATIO = 200
"""The largest ratio of the longer side to the shorter one, which encoders resize to their own."""

_FILTERS = threading.Lock()
_STRIP = 2**22  # pixels that are scaled together
_ORIENTATION = 0x0112
# tags and values of TIFF
_BITS, _SAMPLE_FORMAT, _SIGNED = 258, 339, (2,)
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_image(path: Path) -> Image.Image:
    """Read an image file of any format that Pillow reads, except PostScript; see `read_image`.

    Raises:
        PrefixcapError: If it is missing, not a regular file, broken, or not an image; and as
            `read_image`.
    """
    check_image_file(path)
    return read_image(lambda: _open(path), str(path))


def check_image_file(path: Path) -> None:
    """Check that a path is a file with content, without opening it: a pipe would block.

    Raises:
        PrefixcapError: If it is not.
    """
    try:
        state = path.stat()
    except FileNotFoundError:
        raise PrefixcapError(f"{path}: the image does not exist") from None
    except (OSError, ValueError) as error:  # a loop of links, a null character
        raise _unreadable(str(path), error) from error
    if not stat.S_ISREG(state.st_mode):
        kind = _KINDS.get(stat.S_IFMT(state.st_mode), "no file")
        raise PrefixcapError(f"{path}: the image cannot be read: it is {kind}, not a file")
    if not state.st_size:
        raise PrefixcapError(f"{path}: the image cannot be read: the file is empty")


def read_image(opener: Callable[[], Image.Image], place: str) -> Image.Image:
    """Return the image that `opener` opens or draws, as people see it.

    Its EXIF orientation is applied, integer grays of 16 and 32 bits are scaled to 8, and
    transparent pixels lie on white. `place` names the image in messages.

    Raises:
        PrefixcapError: If it cannot be read, has floating-point or negative pixels, more than
            `MAX_PIXELS`, or sides of a ratio above `MAX_RATIO`.
    """
    try:
        with opener() as image:
            return upright_rgb(image, place)
    except PrefixcapError:
        raise
    except Exception as error:  # decoders of images raise almost anything for a broken file
        raise _unreadable(place, error) from error


def _open(path: Path) -> Image.Image:
    from PIL import Image

    # the filters are those of all threads, and so are restored in turn
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is checked
        return Image.open(path)


def _unreadable(place: str, error: Exception) -> PrefixcapError:
    from PIL import Image, UnidentifiedImageError

    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    elif isinstance(error, UnidentifiedImageError):
        reason = "its content is of no known image format"
    elif isinstance(error, Image.DecompressionBombError):
        reason = f"it has more than {MAX_PIXELS:,} pixels"
    return PrefixcapError(f"{place}: the image cannot be read: {reason}")


def upright_rgb(image: Image.Image, place: str) -> Image.Image:
    """Return an open image as `read_image` does, but leave it open.

    Raises:
        PrefixcapError: As `read_image`; an error of a decoder is raised as it is.
    """
    from PIL import Image

    if type(image) is Image.Image and image.mode == "RGB" and not image.info:
        _check_size(image, place)
        return image  # drawn, or read by `open_image` before
    if image.format == "EPS":  # Pillow would run Ghostscript
        raise PrefixcapError(
            f"{place}: PostScript is a program, which is not run: convert the image to PNG"
        )
    _check_size(image, place)
    image.load()
    rgb = _rgb_on_white(image, place)
    turn = _turn(image)
    rgb = rgb if turn is None else rgb.transpose(turn)
    rgb.info.clear()
    return rgb


def _check_size(image: Image.Image, place: str) -> None:
    width, height = image.size
    size = f"{place}: the image of {width} x {height} pixels"
    if not width or not height:
        raise PrefixcapError(f"{size} is empty")
    if width * height > MAX_PIXELS:
        raise PrefixcapError(f"{size} is too large: at most {MAX_PIXELS:,} pixels are read")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise PrefixcapError(
            f"{size} is too narrow: one side may be at most {MAX_RATIO} times as long as the "
            "other: crop it"
        )


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the operation that turns a loaded image upright; Pillow has turned TIFF already."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        return turns.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels
        return None


def _rgb_on_white(image: Image.Image, place: str) -> Image.Image:
    from PIL import Image

    if image.mode == "F":
        raise PrefixcapError(
            f"{place}: the image has floating-point pixels, and what is white is unknown: save it "
            "with 8 or 16 bits per channel"
        )
    if image.mode.startswith("I"):
        return _scaled_gray(image, place).convert("RGB")
    if image.mode == "LAB":
        return _from_lab(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    ground = Image.new("RGB", image.size, "white")
    ground.paste(rgba, mask=rgba.getchannel("A"))
    return ground


def _scaled_gray(image: Image.Image, place: str) -> Image.Image:
    """Scale integer grays of 16 or 32 bits to 8 bits.

    32 bits that hold no value above 65,535 are taken for 16 bits, because Pillow reads 16-bit
    files of some formats so.
    """
    import numpy as np
    from PIL import Image, ImageOps

    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16 if image.mode.startswith("I;") else 32,))[0]
    signed = image.mode == "I" and tags.get(_SAMPLE_FORMAT, _SIGNED) == _SIGNED
    low, high = cast("tuple[int, int]", image.getextrema())
    if low < 0 and signed:
        raise PrefixcapError(
            f"{place}: the image has negative pixels, and what is black is unknown: save it with "
            "8 or 16 bits per channel"
        )
    if bits == 32 and low >= 0 and high < 2**16:
        bits, signed = 16, False
    top = 2 ** (bits - signed) - 1
    transparent = image.info.get("transparency")
    gray = Image.new("L", image.size)
    rows = max(1, _STRIP // image.width)
    for start in range(0, image.height, rows):
        box = (0, start, image.width, min(start + rows, image.height))
        # Pillow's integers of 32 bits are signed: those of a file without signs may be negative
        values = np.asarray(image.crop(box)).astype(np.int64) & 0xFFFFFFFF
        scaled = ((values * 255 + top // 2) // top).astype(np.uint8)
        if isinstance(transparent, int):
            scaled[values == transparent] = 255
        gray.paste(Image.fromarray(scaled), box)
    return ImageOps.invert(gray) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else gray


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    if converted is None:
        raise ValueError("no conversion from Lab")
    return converted
