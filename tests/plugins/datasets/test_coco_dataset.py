"""The data set `coco`, on a small copy of COCO's files with their names and formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import prefixcap_datasets.configs as datasets
import pytest
from PIL import Image
from prefixcap_datasets.image_files import Inside

from prefixcap.errors import PrefixcapError

# number, folder, split of Karpathy's file
PHOTOS = (
    (9, "train2014", "train"),
    (42, "val2014", "test"),
    (73, "val2014", "val"),
    (74, "val2014", "restval"),
    (133, "val2014", "restval"),
)


def name(number: int, folder: str) -> str:
    return f"COCO_{folder}_{number:012d}.jpg"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "annotations").mkdir()
    for folder in ("train2014", "val2014"):
        (tmp_path / folder).mkdir()
        numbers = [number for number, place, _ in PHOTOS if place == folder]
        for number in numbers:
            Image.new("L", (5, 4), number).save(tmp_path / folder / name(number, folder))
        write(tmp_path / "annotations" / f"captions_{folder}.json", annotations(folder, numbers))
    write(tmp_path / "dataset_coco.json", karpathy())
    return tmp_path


def annotations(folder: str, numbers: list[int]) -> dict[str, Any]:
    images = [
        {"license": 3, "file_name": name(n, folder), "height": 4, "width": 5, "id": n}
        for n in numbers
    ]
    captions = [
        {"image_id": n, "id": 10 * n + i, "caption": f"Caption {i} of {n}.\n"}
        for i in range(5)
        for n in numbers
    ]
    info = {"description": "COCO 2014 Dataset", "version": "1.0", "year": 2014}
    return {"info": info, "images": images, "licenses": [], "annotations": captions}


def karpathy() -> dict[str, Any]:
    images = [
        {
            "filepath": folder,
            "sentids": [10 * number],
            "filename": name(number, folder),
            "imgid": index,
            "split": split,
            "sentences": [{"tokens": ["caption"], "raw": "Caption", "imgid": index, "sentid": 1}],
            "cocoid": number,
        }
        for index, (number, folder, split) in enumerate(PHOTOS)
    ]
    return {"images": images, "dataset": "coco"}


def write(path: Path, data: object) -> None:
    path.write_text(json.dumps(data))


def numbers(root: Path, **settings: Any) -> dict[str, list[int]]:
    dataset = datasets.Coco(path=str(root), **settings).build()
    return {
        split: [int(e.image.id[-16:-4]) for e in dataset.examples(split)]
        for split in dataset.splits
    }


def sentence(root: Path, **settings: Any) -> str:
    with pytest.raises(PrefixcapError) as caught:
        datasets.Coco(path=str(root), **settings).build()
    return str(caught.value)


def test_karpathy_splits_with_restval_in_train(root: Path) -> None:
    assert numbers(root) == {"train": [9, 74, 133], "test": [42], "val": [73]}


def test_restval_can_be_kept_or_dropped(root: Path) -> None:
    assert numbers(root, restval="keep")["restval"] == [74, 133]
    assert numbers(root, restval="drop") == {"train": [9], "test": [42], "val": [73]}


def test_an_image_keeps_its_index_if_others_are_left_out(root: Path) -> None:
    data = karpathy()
    data["images"].reverse()  # those of restval come first
    write(root / "dataset_coco.json", data)

    def indices(restval: str) -> dict[str, int]:
        dataset = datasets.Coco(path=str(root), restval=restval).build()
        return {
            e.image.id: e.image.index for split in dataset.splits for e in dataset.examples(split)
        }

    dropped, kept = indices("drop"), indices("train")
    assert dropped == {image: kept[image] for image in dropped}
    assert sorted(dropped.values()) == [2, 3, 4]


def test_official_splits_need_no_split_file(root: Path) -> None:
    (root / "dataset_coco.json").unlink()
    assert numbers(root, splits="official") == {"train": [9], "val": [42, 73, 74, 133]}
    assert "dataset_coco.json exists; splits=official does not need it" in sentence(root)


def test_captions_and_images_are_the_downloaded_ones(root: Path) -> None:
    example = datasets.Coco(path=str(root)).build().examples("val")[0]
    assert example.references == tuple(f"Caption {i} of 73." for i in range(5))
    assert example.image.path == root / "val2014" / "COCO_val2014_000000000073.jpg"
    assert example.image.open is not None
    assert example.image.open().size == (5, 4)


def test_other_common_folder_layouts_are_accepted(root: Path) -> None:
    (root / "images").mkdir()
    for folder in ("train2014", "val2014"):
        (root / folder).rename(root / "images" / folder)
    (root / "dataset_coco.json").rename(root / "annotations" / "dataset_coco.json")
    (root / "train2014").touch()  # no folder
    (root / "dataset_coco.json").mkdir()  # no file
    assert numbers(root)["test"] == [42]


def test_every_image_has_its_own_index_and_id(root: Path) -> None:
    dataset = datasets.Coco(path=str(root)).build()
    items = [e.image for split in dataset.splits for e in dataset.examples(split)]
    assert sorted(item.index for item in items) == list(range(5))
    assert len({item.id for item in items}) == 5


def test_the_digest_depends_on_the_files_and_the_settings(root: Path) -> None:
    result = {datasets.Coco(path=str(root), restval=r).build().digest() for r in ("train", "drop")}
    data = karpathy()
    data["images"][1]["split"] = "val"
    write(root / "dataset_coco.json", data)
    result.add(datasets.Coco(path=str(root)).build().digest())
    assert len(result) == 3


def test_missing_files_are_errors(root: Path) -> None:
    assert "x, does not exist" in sentence(root / "x")
    (root / "annotations" / "captions_val2014.json").unlink()
    assert "captions_val2014.json does not exist" in sentence(root)


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        ("dataset_coco.json", ("images",), {}, "has no list 'images'"),
        (
            "dataset_coco.json",
            ("images", 1, "cocoid"),
            None,
            "image 2: 'cocoid' must be an integer",
        ),
        ("dataset_coco.json", ("images", 1, "cocoid"), 5, "no captions of the image"),
        (
            "dataset_coco.json",
            ("images", 1, "split"),
            5,
            "image 2: 'split' must be a string, not 5",
        ),
        ("dataset_coco.json", ("images", 1, "split"), " ", "image 2: 'split' is empty"),
        ("dataset_coco.json", ("images", 1, "filename"), "", "image 2: 'filename' is empty"),
        (
            "dataset_coco.json",
            ("images", 1, "cocoid"),
            True,
            "image 2: 'cocoid' must be an integer, not True",
        ),
        ("dataset_coco.json", ("images", 1, "filepath"), "test2014", "neither 'train2014' nor"),
        ("annotations/captions_val2014.json", ("annotations",), None, "has no list 'annotations'"),
        (
            "annotations/captions_val2014.json",
            ("annotations", 0, "caption"),
            None,
            "annotation 1: 'caption' must be a string",
        ),
        (
            "annotations/captions_val2014.json",
            ("images", 0),
            "x",
            "image 1: 'id' must be an integer",
        ),
    ],
)
def test_files_of_another_format_are_errors(
    root: Path, file: str, keys: tuple[Any, ...], value: object, message: str
) -> None:
    data = json.loads((root / file).read_text())
    place = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write(root / file, data)
    result = sentence(root)
    assert message in result
    assert str(root) in result


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("PK", "is not JSON: Expecting value at column 1"),
        ("", "is not JSON: Expecting value at column 1"),
        ("[" * 100_000, "is not JSON: lists or objects are nested more than 100 deep"),
        ('{"images": ' + "9" * 5000 + "}", "is not JSON: a number has more than 4300 digits"),
        ('{"images": [], "images": []}', "is not JSON: the key 'images' appears twice"),
        ('{"images": [NaN]}', "is not JSON: NaN is not JSON"),
        ('{"images": ["\\ud83d"]}', "is not JSON: a text contains half a character"),
        ("[]", "is not in Karpathy's format: it has no list 'images'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(root: Path, content: str, reason: str) -> None:
    for file in ("dataset_coco.json", "annotations/captions_train2014.json"):
        (root / file).write_text(content)
        if file.startswith("annotations"):
            reason = reason.replace("Karpathy", "COCO")
        assert f"{root / file} {reason}" in sentence(root)
    (root / file).write_bytes('{"images": []}'.encode("utf-16"))
    assert f"{root / file} cannot be read as text: it is in UTF-16" in sentence(root)


def test_a_byte_order_mark_is_no_part_of_a_file(root: Path) -> None:
    expected = numbers(root)
    for file in ("dataset_coco.json", "annotations/captions_val2014.json"):
        (root / file).write_text("\ufeff" + (root / file).read_text(), "utf-8")
    assert numbers(root) == expected


@pytest.mark.parametrize(("key", "value"), [("cocoid", 9), ("filename", name(9, "train2014"))])
def test_one_image_twice_is_an_error(root: Path, key: str, value: object) -> None:
    data = karpathy()
    data["images"][3][key] = value
    data["images"][3]["filepath"] = "train2014"
    write(root / "dataset_coco.json", data)
    file = root / "dataset_coco.json"
    number = f" ({data['images'][3]['cocoid']})" if key == "cocoid" else ""
    assert (
        f"{file}, image 4: the image {data['images'][3]['filename']!r}{number} already appears in "
        f"{file}, image 1"
    ) in sentence(root)
    numbers(root, splits="official")
    truth = root / "annotations" / "captions_val2014.json"
    data = json.loads(truth.read_text())
    data["images"].append(data["images"][0])
    write(truth, data)
    assert f"{truth}, image 5: the image" in sentence(root, splits="official")


def test_images_outside_the_folder_are_refused_unless_allowed(root: Path) -> None:
    outside = root.parent / f"outside-{root.name}.jpg"
    (root / "val2014" / name(42, "val2014")).rename(outside)
    (root / "val2014" / name(42, "val2014")).symlink_to(outside)
    reason = (
        f"dataset_coco.json, image 2: {name(42, 'val2014')!r} leads out of the data set's folder"
    )
    assert reason in sentence(root)
    assert "image 1: " in sentence(root, splits="official")
    dataset = datasets.Coco(path=str(root), allow_outside=True).build()
    assert dataset.examples("test")[0].image.path == root / "val2014" / name(42, "val2014")
    (root / "val2014").rename(root.parent / f"pictures-{root.name}")
    (root / "val2014").symlink_to(root.parent / f"pictures-{root.name}")  # a folder may be a link
    data = karpathy()
    data["images"][1]["filename"] = "../" * 9 + "etc/hostname"
    write(root / "dataset_coco.json", data)
    assert "leads out of the data set's folder, to '/etc/hostname'" in sentence(root)


def test_splits_of_karpathys_file_in_any_case_and_empty_captions(root: Path) -> None:
    data = karpathy()
    for image in data["images"]:
        image["split"] = image["split"].upper()
    write(root / "dataset_coco.json", data)
    dataset = datasets.Coco(path=str(root)).build()
    assert [len(dataset.examples(split)) for split in ("train", "val", "test")] == [3, 1, 1]
    file = root / "annotations" / "captions_val2014.json"
    notes = json.loads(file.read_text())
    notes["annotations"][1]["caption"] = " \n"
    write(file, notes)
    assert [len(e.references) for e in datasets.Coco(path=str(root)).build().examples("val")] == [4]


def test_a_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    inside = Inside([tmp_path], allow_outside=False)
    with pytest.raises(PrefixcapError, match=r"^line 3: .* is no file name: File name too long"):
        inside.file(tmp_path, "1" * 5000, "line 3")


def test_images_may_be_missing(root: Path) -> None:
    """Features may have been computed elsewhere; an encoder of images names the missing file."""
    for folder in ("train2014", "val2014"):
        (root / folder).rename(root.parent / f"away-{folder}-{root.name}")
    image = datasets.Coco(path=str(root)).build().examples("val")[0].image
    assert (image.id, image.index) == (name(73, "val2014"), 2)
    assert image.open is not None
    missing = root / "val2014" / name(73, "val2014")
    with pytest.raises(PrefixcapError, match=f"{missing}: the image does not exist"):
        image.open()


def to_2017(root: Path) -> None:
    """Turn the copy into COCO 2017: the same images, of which one moved to train, renamed."""
    parts = {"train2017": [9, 42, 73, 74], "val2017": [133]}
    for part, numbers in parts.items():
        data = annotations(part, numbers)
        for image in data["images"]:
            image["file_name"] = f"{image['id']:012d}.jpg"
        write(root / "annotations" / f"captions_{part}.json", data)
        (root / part).mkdir()
    for number, folder, _ in PHOTOS:
        target = root / ("val2017" if number == 133 else "train2017") / f"{number:012d}.jpg"
        (root / folder / name(number, folder)).rename(target)


def test_coco_2017(root: Path) -> None:
    to_2017(root)
    assert "the annotations of 2014 and 2017: choose year=2017" in sentence(root)
    official = datasets.Coco(path=str(root), year=2017, splits="official").build()
    ids = {s: [e.image.id for e in official.examples(s)] for s in official.splits}
    assert ids["val"] == ["000000000133.jpg"]
    assert len(ids["train"]) == 4
    for file in ("train", "val"):
        (root / "annotations" / f"captions_{file}2014.json").unlink()
    dataset = datasets.Coco(path=str(root)).build()  # Karpathy's splits, by the numbers
    example = dataset.examples("test")[0]
    assert example.image.path == root / "train2017" / "000000000042.jpg"
    assert example.image.open is not None
    assert example.image.open().size == (5, 4)
    assert example.references[0] == "Caption 0 of 42."
    assert [e.image.id for e in dataset.examples("val")] == ["000000000073.jpg"]
    assert [e.image.index for e in dataset.examples("train")] == [0, 3, 4]
    with pytest.raises(ValueError, match="year must be 2014 or 2017, not 2015"):
        datasets.Coco(path=str(root), year=2015)


def test_part_of_the_annotations(root: Path) -> None:
    (root / "annotations" / "captions_val2014.json").rename(root / "captions_val2014.json")
    (root / "annotations" / "captions_train2014.json").unlink()
    assert numbers(root, splits="official") == {"val": [42, 73, 74, 133]}
    (root / "captions_val2014.json").unlink()
    assert "COCO's captions are missing: neither" in sentence(root, splits="official")


def test_coco_val2017_as_downloaded(shared: Path) -> None:
    config = datasets.Coco(path=str(shared / "data" / "coco_clip_text"), splits="80/10/10")
    dataset = config.build()
    counts = {split: len(dataset.examples(split)) for split in dataset.splits}
    assert sum(counts.values()) == 5000
    # binomial: 3,960 to 4,040 within 1.4 standard deviations of 28
    assert 3900 < counts["train"] < 4100
    assert counts["val"] > 420
    assert counts["test"] > 420
    texts = [text for split in counts for e in dataset.examples(split) for text in e.references]
    assert len(texts) == 25_014
    official = attrs.evolve(config, splits="official").build()
    first = official.examples("val")[0]
    assert first.image.id == "000000397133.jpg"
    assert first.references[0] == "A man is in a kitchen making pizzas."
