"""The data set `webdataset`, on small shards as img2dataset and others write them."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import prefixcap_datasets.configs as datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset


def picture(width: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, 4)).save(file, "JPEG")
    return file.getvalue()


def shard(path: Path, files: dict[str, bytes | str], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return path


def opened(path: object, **options: Any) -> Dataset:
    return datasets.WebDataset(path=str(path), **options).build()


def captions(dataset: Dataset) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        split: {e.image.id: e.references for e in dataset.examples(split)}
        for split in dataset.splits
    }


def sentence(path: object) -> str:
    with pytest.raises(PrefixcapError) as caught:
        opened(path)
    return str(caught.value)


def test_shards_as_img2dataset_writes_them(tmp_path: Path) -> None:
    for number in range(3):
        info = {"caption": f"Caption {number}", "url": "x", "key": f"0000{number}", "nan": 0}
        text = json.dumps(info).replace('"nan": 0', '"similarity": NaN')
        files = {
            f"0000{number}.jpg": picture(3 + number),
            f"0000{number}.json": text,
            f"0000{number}.txt": f"Caption {number}",
        }
        shard(tmp_path / f"0000{number}.tar", files)
        (tmp_path / f"0000{number}_stats.json").write_text("{}")
    for path in (tmp_path, f"{tmp_path}/{{00000..00002}}.tar", f"{tmp_path}/0000{{0,1,2}}.tar"):
        dataset = opened(path)
        assert captions(dataset) == {
            "all": {f"0000{n}.jpg": (f"Caption {n}",) for n in range(3)},
        }
        image = dataset.examples("all")[2].image
        assert (image.index, image.path) == (2, None)
        assert image.open is not None
        assert image.open().size == (5, 4)
    assert list(captions(opened(tmp_path / "00001.tar"))["all"]) == ["00001.jpg"]
    assert list(captions(opened(tmp_path, splits="0/1/0"))) == ["val"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_captions_in_lists_and_splits(tmp_path: Path, form: int) -> None:
    long = "n" * 90 + "/" + "é" * 40
    files = {
        f"{long}.PNG": picture(3),
        f"{long}.txt": " One.\n\nTwo.\n",
        f"{long}.cls": "5",
        "./b.c.jpg": picture(3),
        "./b.jpeg": picture(4),
        "./b.json": json.dumps({"captions": ["Three.", "Four."], "split": "dev"}),
        "./b.txt": "ignored",
        "alone.txt": "A caption without an image.",
        "README": "x",
    }
    shard(tmp_path / "coco-train-000.tar", files, format=form)
    shard(tmp_path / "test" / "000.tar", {"c.webp": picture(3), "c.txt": "Five."})
    found = captions(opened(tmp_path))
    assert found == {
        "train": {f"{long}.PNG": ("One.", "Two.")},
        "dev": {"b.jpeg": ("Three.", "Four.")},
        "test": {"c.webp": ("Five.",)},
    }


def test_no_path_of_a_member_leads_anywhere(tmp_path: Path) -> None:
    """A member's name is the image's name and nothing else; links and devices are left out."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(picture(9))
    path = tmp_path / "shards" / "0.tar"
    shard(path, {"../../secret.jpg": picture(3), f"{tmp_path}/new.jpg": picture(4)})
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            header = tarfile.TarInfo(f"link{kind!r}.jpg")
            header.type, header.linkname = kind, str(secret)
            archive.addfile(header)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    images = [example.image for example in opened(path).examples("all")]
    assert [image.id for image in images] == ["../../secret.jpg", f"{tmp_path}/new.jpg"]
    assert [image.open().size for image in images if image.open] == [(3, 4), (4, 4)]
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


def header_of(size: bytes) -> bytes:
    """Return a header whose size has these bytes, with a correct checksum."""
    block = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def test_broken_archives_are_errors(tmp_path: Path) -> None:
    path = shard(tmp_path / "0.tar", {"a.jpg": picture(3), "a.txt": "A", "b.jpg": picture(3)})
    content = path.read_bytes()
    second = content.index(b"a.txt")
    cases = {
        content[: second + 100]: "not a complete tar archive",
        content[: second - 100]: "not a complete tar archive: ReadError: unexpected end of data",
        content[:second] + b"x" * 2000: f"the header at byte {second} is broken",
        b"no archive" * 100: "not a complete tar archive: ReadError",
        b"": "not a complete tar archive: ReadError: empty file",
        gzip.compress(content): "a compressed archive",
        header_of(b"\xff" * 11 + b"\0") + content: "a size is negative",
    }
    for broken, message in cases.items():
        path.write_bytes(broken)
        assert message in sentence(path)
    path.write_bytes(tarfile.TarInfo("\udcff.jpg").tobuf(errors="surrogateescape") + bytes(1024))
    assert "the name '\\udcff.jpg' is not in UTF-8" in sentence(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.jpg": b"x", "a.jpeg": b"y"}, "0.tar, a.jpeg: the same sample already has 'a.jpg'"),
        ({"a.jpg": b"x", "a.txt": b"\xff"}, "0.tar, a.txt: cannot be read as text: the byte 0xff"),
        ({"a.jpg": b"x", "a.json": "{"}, "0.tar, a.json is not JSON: Expecting"),
        (
            {"a.jpg": b"x", "a.json": "[" * 99_999},
            "0.tar, a.json is not JSON: lists or objects are",
        ),
        ({"a.jpg": b"x", "a.json": '{"caption": 5}'}, "the captions must be texts, not 5"),
        ({"a.jpg": b"x", "a.json": '{"captions": ["x", 5]}'}, "the captions must be texts, not ["),
        ({"a.jpg": b"x", "b.jpg": b"x", "a.txt": "A"}, "0.tar, b.jpg: the image 'b.jpg' has no"),
        ({"a.txt": "A"}, "0.tar: the data set has no image"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, files: dict[str, bytes | str], message: str) -> None:
    assert message in sentence(shard(tmp_path / "0.tar", files))


def test_places_without_shards_are_errors(tmp_path: Path) -> None:
    assert "the folder has no shard" in sentence(tmp_path)
    assert "a-1.tar does not exist" in sentence(f"{tmp_path}/a-{{1..2}}.tar")
    assert "means more than 100,000 shards" in sentence("a-{0..999999999999}.tar")
    assert "means more than 100,000 shards" in sentence("{0..999}-{0..999}.tar")
    assert "{x} is neither a range such as {000..012} nor a list" in sentence("a-{x}.tar")
    shard(tmp_path / "0.tar", {"a.jpg": b"x"})
    shard(tmp_path / "1.tar", {"a.jpg": b"x"})
    assert "1.tar, a.jpg: the image 'a.jpg' already appears in" in sentence(tmp_path)


def test_the_digest_is_that_of_the_contents(tmp_path: Path) -> None:
    one = opened(shard(tmp_path / "0.tar", {"a.jpg": picture(3), "a.txt": "A"})).digest()
    moved = opened(
        shard(tmp_path / "1.tar", {"x": b"", "a.txt": "A", "a.jpg": picture(3)})
    ).digest()
    other = opened(shard(tmp_path / "0.tar", {"a.jpg": picture(4), "a.txt": "A"})).digest()
    assert one == moved != other


def test_an_image_that_can_no_longer_be_read_is_an_error(tmp_path: Path) -> None:
    path = shard(tmp_path / "0.tar", {"a.jpg": b"no image", "b.jpg": picture(3)})
    one, two = (example.image.open for example in opened(path).examples("all"))
    assert one is not None
    assert two is not None
    with pytest.raises(PrefixcapError, match=r"0\.tar, a\.jpg: the image cannot be read"):
        one()
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(PrefixcapError, match=r"0\.tar, b\.jpg: the shard has become shorter"):
        two()


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes_end_in_a_data_set_or_a_sentence(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path / "0.tar"
    if not path.exists():
        shard(path, {"a.jpg": b"x" * 40, "a.txt": "A", "a.json": "{}"}, format=tarfile.PAX_FORMAT)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place] = value
    changed = tmp_path / "changed.tar"
    changed.write_bytes(content)
    with contextlib.suppress(PrefixcapError):
        opened(changed)
