"""The data set `clipcap`: pickles as ClipCap's scripts write them, and some that would run code."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import prefixcap_datasets.configs as datasets
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malicious import Payload

from prefixcap.captioning.encode_images import encode
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset

# image_id, caption: as in COCO's train_caption.json, where an image's captions are apart
CAPTIONS = (("522418", "A woman."), ("184613", "A child."), ("522418", "A woman cuts a cake. "))


def as_clipcap(captions: tuple[tuple[str, str], ...] = CAPTIONS, width: int = 4) -> dict[str, Any]:
    """Collect embeddings and captions in the way of its `parse_coco.py`, on a processor."""
    embeddings, entries = [], []
    for i, (image, caption) in enumerate(captions):
        prefix = torch.full((1, width), float(image[-1]) + i / 8).half()
        entries.append({"image_id": image, "caption": caption, "id": i, "clip_embedding": i})
        embeddings.append(prefix)
    return {"clip_embedding": torch.cat(embeddings, dim=0), "captions": entries}


def write(path: Path, data: object, protocol: int | None = None) -> Path:
    with path.open("wb") as file:
        pickle.dump(data, file, protocol)
    return path


def opened(path: Path, **options: Any) -> Dataset:
    return datasets.ClipCapPickles(path=str(path), **options).build()


def sentence(path: Path) -> str:
    with pytest.raises(PrefixcapError) as caught:
        opened(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_captions_and_embeddings_of_images(tmp_path: Path, protocol: int) -> None:
    data = as_clipcap()
    write(tmp_path / "oscar_split_ViT-B_32_train.pkl", data, protocol)
    write(tmp_path / "oscar_split_ViT-B_32_val.pkl", as_clipcap((("391895", "A man."),)), protocol)
    dataset = opened(tmp_path)
    assert dataset.splits == ("train", "val")
    first, second = dataset.examples("train")
    assert first.references == ("A woman.", "A woman cuts a cake.")
    assert [first.image.id, second.image.id] == ["522418", "184613"]
    assert dataset.examples("val")[0].image.index == 2
    assert encode("precomputed", [second.image, first.image]).tolist() == [[3.125] * 4, [8.0] * 4]
    assert list(opened(tmp_path, splits="0/0/1").splits) == ["test"]
    data["captions"][0]["caption"] = "A man."
    write(tmp_path / "oscar_split_ViT-B_32_train.pkl", data, protocol)
    assert opened(tmp_path).digest() != dataset.digest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 5)])
def test_other_types_and_tokens(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """`parse_conceptual.py` takes rows by a mask; a part of a larger tensor has an offset."""
    tensor = torch.arange(90.0).to(dtype)[60 : 60 + np.prod(shape)].view(shape)
    entries = [{"caption": "A dog.", "clip_embedding": i} for i in range(3)]
    path = write(tmp_path / "conceptual.pkl", {"clip_embedding": tensor, "captions": entries})
    examples = opened(path).examples("all")
    assert [example.image.id for example in examples] == ["0", "1", "2"]
    rows = [example.image.embedding() for example in examples if example.image.embedding]
    assert torch.equal(torch.from_numpy(np.stack(rows)), tensor.float())


def changed(**changes: Any) -> dict[str, Any]:
    return {**as_clipcap(), **changes}


def entry(**changes: Any) -> dict[str, Any]:
    return changed(captions=[{"image_id": "1", "caption": "x", "clip_embedding": 0, **changes}])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"clip_embeddings": 1, "captions": []}, "has no 'clip_embedding'; did you mean"),
        ([], "is not one of ClipCap's files: it has no 'clip_embedding'"),
        (changed(clip_embedding=[1.0]), "not a tensor of torch, but [1.0]"),
        (changed(clip_embedding=("torch", ())), "not a tensor of torch, but ('torch', ())"),
        (changed(clip_embedding=torch.zeros(3)), r"shape (B,D) or (B,N,D), not torch.float32 of ("),
        (changed(clip_embedding=torch.zeros(3, 2).int()), "must be floating-point numbers"),
        (changed(clip_embedding=torch.zeros(0, 2)), "must be floating-point numbers"),
        (changed(clip_embedding=torch.zeros(4, 3).T), "is not one of 12 numbers in a row"),
        (changed(clip_embedding=np.zeros((3, 2))), "it holds 'numpy"),
        (changed(captions="x"), "'captions' must be a list, not 'x'"),
        (changed(captions=[5]), "caption 1: an object with 'caption' was expected, not 5"),
        (changed(captions=[]), "the data set has no image"),
        (entry(caption=None), "caption 1: 'caption' must be a text and 'clip_embedding' a row fr"),
        (entry(clip_embedding=3), "a row from 0 to 2, not 'x' and 3"),
        (entry(clip_embedding=-1), "a row from 0 to 2, not 'x' and -1"),
        (entry(clip_embedding=True), "a row from 0 to 2, not 'x' and True"),
        (entry(image_id=[1]), "caption 1: 'image_id' must be a text, not [1]"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, data: object, message: str) -> None:
    assert message in sentence(write(tmp_path / "a.pkl", data))


def test_missing_broken_and_repeated_files_are_errors(tmp_path: Path) -> None:
    assert "the folder has no file of ClipCap's" in sentence(tmp_path)
    assert "a.pkl does not exist" in sentence(tmp_path / "a.pkl")
    content = write(tmp_path / "a.pkl", as_clipcap()).read_bytes()
    write(tmp_path / "b.pkl", as_clipcap())
    assert "b.pkl, caption 1: the image '522418' already appears in" in sentence(tmp_path)
    (tmp_path / "a.pkl").write_bytes(content[:-40])
    assert "a.pkl: cannot be read as a pickle: " in sentence(tmp_path / "a.pkl")
    data = as_clipcap()
    data["clip_embedding"][1] = float("nan")
    image = opened(write(tmp_path / "a.pkl", data)).examples("all")[1].image
    assert image.embedding is not None
    with pytest.raises(PrefixcapError, match="its embedding has values that are not finite"):
        image.embedding()


# ------------------------------------------------------------------------- what would run something


class Calls:
    """Pickled as a call of a function with some arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def in_storage(marker: Path, gadget: str) -> bytes:
    """Return a storage's bytes with a payload in place of the storage."""
    file = io.BytesIO()
    torch.save(Payload(marker, gadget), file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def rebuilt(*arguments: Any) -> Calls:
    return Calls(torch._utils._rebuild_tensor_v2, *arguments)  # type: ignore[attr-defined]


def stored(content: Any) -> Calls:
    return Calls(torch.storage._load_from_bytes, content)  # type: ignore[attr-defined]


def numbers() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.arange(6.0).storage(), file, _use_new_zipfile_serialization=False)
    return file.getvalue()


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "a caption": lambda m: changed(captions=[{"caption": Payload(m), "clip_embedding": 0}]),
    "a key": lambda m: {Payload(m, "exec"): 1, **as_clipcap()},
    "the embedding": lambda m: changed(clip_embedding=Payload(m, "system")),
    "a call of torch.load": lambda m: changed(clip_embedding=Payload(m, "nested")),
    "the storage": lambda m: changed(
        clip_embedding=rebuilt(stored(in_storage(m, "open")), 0, (3, 2), (2, 1), False, {})
    ),
    "a storage in a storage": lambda m: changed(
        clip_embedding=rebuilt(stored(in_storage(m, "nested")), 0, (3, 2), (2, 1), False, {})
    ),
    "a hook": lambda m: changed(
        clip_embedding=rebuilt(stored(numbers()), 0, (3, 2), (2, 1), False, Payload(m))
    ),
    "the state of a call": lambda m: changed(
        clip_embedding=Calls(collections.OrderedDict, state={"x": Payload(m)})
    ),
    "an attribute of a module": lambda m: changed(clip_embedding=Calls(os.system, f"touch {m}")),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_payloads_are_live_but_not_run(case: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = write(tmp_path / "train.pkl", HOSTILE[case](marker))
    sentence(path)
    assert not marker.exists()
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'touch MARKER'\ntR.",
        b"(S'touch MARKER'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch MARKER'\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.",  # STACK_GLOBAL
        b"\x80\x04\x8c\x0btorch._util\x8c\x08s.os.sys\x93.",
        b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
        b"ccollections\nOrderedDict.__subclasses__\n.",
        b"\x80\x02\x82\x01.",  # an extension
        b"S'x'\nQ.",  # something outside
        # new attributes and a new state of what a name became
        b"ccollections\nOrderedDict\n}S'__code__'\nI1\nsb.",
        b"ccollections\nOrderedDict\n(}}S'__code__'\nI1\nstb.",
        b"ccollections\nOrderedDict\n)\x81.",
    ],
)
def test_programs_in_pickles_are_not_run(program: bytes, tmp_path: Path) -> None:
    marker = tmp_path / "m"
    path = tmp_path / "train.pkl"
    path.write_bytes(program.replace(b"touch MARKER", f"touch {marker}".encode()[:12]))
    sentence(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, (3, 2), (2, 1)), None),
        ((1, (3, 2), (2, 1)), "is not one of 6 numbers in a row"),
        ((0, (10**12, 2), (2, 1)), "is not one of 6 numbers in a row"),
        ((0, (3, 2), (0, 0)), "is not one of 6 numbers in a row"),
        ((-1, (3, 2), (2, 1)), "not a tensor of torch"),
        ((0, (-3, 2), (2, 1)), "not a tensor of torch"),
        ((0, (3.0, 2), (2, 1)), "not a tensor of torch"),
        ((0, (True, 2), (2, 1)), "not a tensor of torch"),
        ((0, 3, 1), "not a tensor of torch"),
        ((0,), "not a tensor of torch"),
    ],
)
def test_a_tensor_is_within_its_storage(
    arguments: tuple[Any, ...], message: str | None, tmp_path: Path
) -> None:
    made = rebuilt(stored(numbers()), *arguments, False, {})
    if len(arguments) == 1:
        made = rebuilt(stored(numbers()), 0)
    path = write(tmp_path / "a.pkl", changed(clip_embedding=made))
    if message is None:
        assert len(opened(path).examples("all")) == 2
    else:
        assert message in sentence(path)


def test_a_storage_is_one(tmp_path: Path) -> None:
    shape = ((3, 2), (2, 1), False, {})
    for made in (
        rebuilt(stored("text"), 0, *shape),
        rebuilt(stored(b"no file"), 0, *shape),
        rebuilt("text", 0, *shape),
        stored(numbers()),
    ):
        sentence(write(tmp_path / "a.pkl", changed(clip_embedding=made)))


CONTENT = pickle.dumps(as_clipcap())
"""Made once: pickles of equal objects may differ in length."""


@given(st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes_end_in_a_data_set_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(CONTENT)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        # the codes of long strings and of large places in the memo would take gigabytes
        value = data.draw(st.integers(0, 255).filter(lambda v: v not in b"rj\x8d\x8e\x8b"))
        content[place] = value
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with contextlib.suppress(PrefixcapError):
        opened(path)
