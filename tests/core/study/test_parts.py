"""Small parts of a study: files, baselines, tables, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example, ImageItem
from prefixcap.plugin.registry import default_registry
from prefixcap.study.analysis import contact_sheet
from prefixcap.study.definition import options
from prefixcap.study.execution import baselines, data
from prefixcap.util import files as store


def example(number: int, *references: str, opened: bool = False) -> Example:
    image = Image.new("RGB", (60 + number, 40), (number * 20, 0, 90))
    item = ImageItem(id=str(number), index=number, open=(lambda: image) if opened else None)
    return Example(image=item, references=references)


def texts(lines: list[dict[str, Any]]) -> list[str]:
    return [line["captions"][0]["text"] for line in lines]


TRAIN = [
    example(0, "A dog runs on grass.", "A brown dog runs."),
    example(1, "A dog runs on sand.", "The dog runs fast."),
    example(2, "Two ships at sea.", "Ships meet."),
]
TEST = [example(3, "A dog."), example(4, "A ship."), example(5, "A dog runs.")]


def test_the_constant_caption_is_the_most_typical() -> None:
    result = texts(baselines.constant(TRAIN, TEST))
    assert len(set(result)) == 1
    assert "dog runs" in result[0]


def test_the_nearest_image_is_by_cosine() -> None:
    train = torch.tensor([[1.0, 0.0], [0.0, 9.0], [-1.0, 0.1]])
    test = torch.tensor([[5.0, 0.1], [-3.0, 0.2], [0.2, 0.3]])
    nearest = baselines.nearest_images(train, test, 1)
    result = baselines.nearest_training(TRAIN, TEST, nearest)
    assert texts(result) == ["A dog runs on grass.", "Two ships at sea.", "A dog runs on sand."]
    assert baselines.nearest_images(train[:, None], test[:, None], 1) == nearest


def test_shuffled_captions_are_never_their_own() -> None:
    lines = [{"image": e.image.id, "captions": [{"text": e.image.id}]} for e in TEST]
    result = texts(baselines.shuffled(TEST, lines))
    assert sorted(result) == ["3", "4", "5"]
    assert all(text != e.image.id for text, e in zip(result, TEST, strict=True))


def test_random_captions_depend_on_the_seed_alone() -> None:
    many = TEST * 10
    one, same, other = (texts(baselines.random_training(TRAIN, many, s)) for s in (1, 1, 2))
    assert one == same != other


def test_a_picture_is_drawn_where_there_are_images(tmp_path: Path) -> None:
    examples = [
        example(i, "A caption that is long enough to be wrapped.", opened=True) for i in range(6)
    ]
    lines = [{"captions": [{"text": f"caption {i} " * 9}]} for i in range(6)]
    file = tmp_path / "grid.png"
    cells = {"one": lines, "two": lines}
    assert contact_sheet.draw(file, examples, cells, {"one": "mlp", "two": "linear"})
    with Image.open(file) as image:
        assert image.width == 4 * (contact_sheet.TILE + contact_sheet.MARGIN) + contact_sheet.MARGIN
        assert image.height > 2 * 200
    bare = [example(0, "x")]
    assert not contact_sheet.draw(tmp_path / "no.png", bare, {"one": lines[:1]}, {"one": "mlp"})
    assert not (tmp_path / "no.png").exists()


@given(st.lists(st.dictionaries(st.text(), st.text()), max_size=4), st.integers(0, 60))
def test_json_lines_can_be_truncated_anywhere(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], cut: int
) -> None:
    file = tmp_path_factory.mktemp("lines") / "a.jsonl"
    store.write_lines(file, rows)
    assert store.read_lines(file) == rows
    content = file.read_bytes()
    file.write_bytes(content[: max(0, len(content) - cut)])
    kept = store.read_lines(file)
    assert kept == rows[: len(kept)]
    with store.appending(file) as lines:
        for missing in rows[len(kept) :]:
            lines.write(json.dumps(missing, ensure_ascii=False) + "\n")
    assert store.read_lines(file) == rows


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(PrefixcapError, match=r"a\.json was altered .*: run `prefixcap bench` on"):
        store.read_json(tmp_path / "a.json")
    (tmp_path / "a.jsonl").write_text("{\n{}\n")
    with pytest.raises(PrefixcapError, match=r"a\.jsonl was altered .* \(line 1 is not JSON: "):
        store.read_lines(tmp_path / "a.jsonl")


@given(
    st.dictionaries(
        st.sampled_from(["mapper", "decoder", "dataset"]),
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x7f")), min_size=1),
    )
)
def test_a_study_file_round_trips(
    tmp_path_factory: pytest.TempPathFactory, choices: dict[str, list[str]]
) -> None:
    file = tmp_path_factory.mktemp("study") / "s.toml"
    options.write_file(file, choices)
    assert options.read_file(file) == choices


def test_splits_are_understood_and_unused_ones_are_named(tmp_path: Path) -> None:
    def load(*splits: str) -> data.StudyData:
        lines = [{"image": f"{n}", "split": s, "captions": ["A."]} for n, s in enumerate(splits)]
        (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
        np.save(tmp_path / "x.npy", np.ones((len(lines), 2)))
        return data.load(options.study({"dataset": f"jsonl:path={tmp_path}"}, default_registry()))

    loaded = load("training", "Validation", "TEST", "extra", "extra")
    assert loaded.names == ("training", "Validation", "TEST")
    assert [e.image.id for e in (*loaded.train, *loaded.val, *loaded.test)] == ["0", "1", "2"]
    assert loaded.warning is None
    assert loaded.unused == (
        "warning: splits of the data set that are not used: 'extra' (2 images); used: training, "
        "Validation, TEST"
    )
    assert load("train", "val", "test").unused is None
    assert load("train", "dev", "val", "test").names == ("train", "val", "test")
    replaced = load("train", "dev")
    assert replaced.names == ("train", "", "dev")
    assert "no split 'test': 'dev' is captioned" in str(replaced.warning)
    many = load("train", "test", *(f"part {n}" for n in range(12)))
    assert str(many.unused).endswith("'part 9' (1 images) and 2 more; used: train, test")
    with pytest.raises(PrefixcapError, match="no split 'train'; did you mean 'trian'"):
        load("trian", "test")
    with pytest.raises(PrefixcapError, match="the split 'val' may be any of 'dev', 'valid'"):
        load("train", "dev", "valid", "test")
