from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from prefixcap_clip.configs import Precomputed
from safetensors.numpy import save_file

from prefixcap.captioning.encode_images import encode, iter_encoded
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.plugin.registry import default_registry


def item(index: int, **options: object) -> ImageItem:
    return ImageItem(id=f"image{index}", index=index, **options)  # type: ignore[arg-type]


ROWS = np.arange(20, dtype=np.float16).reshape(5, 4)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("rows", [ROWS, ROWS.reshape(5, 2, 2)])
def test_rows_follow_the_data_sets_order(suffix: str, rows: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"features{suffix}"
    np.save(path, rows) if suffix == ".npy" else save_file({"x": rows}, path)
    encoder = default_registry().parse(EncoderConfig, f"precomputed:path={path}").build()
    result = encode(encoder, [item(3), item(0)], batch_size=1)
    assert result.dtype == torch.float32
    assert torch.equal(result, torch.from_numpy(rows[[3, 0]]).float())
    assert (encoder.width, encoder.tokens) == ((4, None) if rows.ndim == 2 else (2, 2))
    assert encoder.digest() == Precomputed(path=str(path)).build().digest()


def test_rows_are_found_by_image_id(tmp_path: Path) -> None:
    path, ids = tmp_path / "x.npy", tmp_path / "ids.txt"
    np.save(path, ROWS)
    # with a byte order mark and the line ends of Windows
    ids.write_text("\ufeff" + "".join(f"image{n}\r\n" for n in (4, 2, 0, 1, 3)), newline="")
    encoder = default_registry().parse(EncoderConfig, f"precomputed:path={path},ids={ids}").build()
    result = encode(encoder, [item(3), item(0)])
    assert torch.equal(result, torch.from_numpy(ROWS[[4, 2]]).float())
    assert encoder.digest() != Precomputed(path=str(path)).build().digest()
    with pytest.raises(
        PrefixcapError, match=r"no row belongs to the image 'image5'; did you mean 'im"
    ):
        encoder.preprocess(item(5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image0\n", "there are 1 ids for 5 rows of features"),
        ("a\nb\na\nc\nd\n", "the image 'a' is named twice"),
        ("a\nb\n\nc\nd\n", "line 3: there is no id"),
        ("a\nb\nc\nd\n\xe9", "ids.txt cannot be read as text: the byte 0xe9 in line 5 is not UTF"),
        (None, "ids.txt does not exist"),
    ],
)
def test_ids_that_do_not_fit_are_errors(text: str | None, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    if text is not None:
        (tmp_path / "ids.txt").write_text(text, "latin-1")
    config = Precomputed(path=str(tmp_path / "x.npy"), ids=str(tmp_path / "ids.txt"))
    with pytest.raises(PrefixcapError, match=message):
        config.build()
    with pytest.raises(PrefixcapError, match="give its 'path' too"):
        Precomputed(ids="ids.txt")


def test_the_digest_depends_on_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    np.save(tmp_path / "b.npy", ROWS + 1)
    np.save(tmp_path / "c.npy", ROWS.reshape(5, 2, 2))
    digests = {Precomputed(path=str(tmp_path / f"{n}.npy")).build().digest() for n in "abc"}
    assert len(digests) == 3


def test_the_data_sets_own_embeddings() -> None:
    encoder = Precomputed().build()
    with pytest.raises(PrefixcapError, match="unknown until one has been read"):
        _ = encoder.width
    own = [item(n, embedding=lambda n=n: ROWS[n]) for n in range(2)]
    assert torch.equal(encode(encoder, own), torch.from_numpy(ROWS[:2]).float())
    assert encoder.width == 4
    with pytest.raises(PrefixcapError, match="image1: the data set has no embedding"):
        encode(encoder, [item(1)])


def test_one_of_several_tensors(tmp_path: Path) -> None:
    path = tmp_path / "both.safetensors"
    save_file({"clip": ROWS, "dino": ROWS + 1}, path)
    assert Precomputed(path=str(path), key="dino").build().preprocess(item(0))[0] == 1
    with pytest.raises(
        PrefixcapError,
        match=r"has 2 tensors \(clip, dino\), not one; .* 'precomputed' .* by its setting 'key'",
    ):
        Precomputed(path=str(path)).build()
    with pytest.raises(PrefixcapError, match="no tensor 'dyno'; did you mean 'dino'"):
        Precomputed(path=str(path), key="dyno").build()


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", ROWS)
    np.save(tmp_path / "flat.npy", ROWS[0])
    np.save(tmp_path / "whole.npy", ROWS.astype(int))
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    (tmp_path / "features.txt").write_text("1 2 3")
    for name, reason in {
        "feature.npy": "does not exist; did you mean 'features.npy'",
        "flat.npy": r"must be of shape \(B,D\) or \(B,N,D\), not \(4,\)",
        "whole.npy": "must be floating-point numbers, not 'int64'",
        "broken.npy": "must be a .npy or .safetensors file, and this is neither: it begins",
        "~no-such-user/x.npy": "the folder that ~ names is not known",
        "features.txt": "must be a .npy or .safetensors file",
    }.items():
        with pytest.raises(PrefixcapError, match=reason):
            Precomputed(path=name if name[0] == "~" else str(tmp_path / name)).build()
    encoder = Precomputed(path=str(tmp_path / "features.npy")).build()
    with pytest.raises(
        PrefixcapError, match="has 5 embeddings, but the image 'image5' is number 6 in"
    ):
        encode(encoder, [item(5)])
    with pytest.raises(PrefixcapError, match="no image was given"):
        encode(encoder, [])


def test_unreadable_images_are_skipped_only_when_asked() -> None:
    def broken() -> np.ndarray:
        raise OSError("truncated file")

    encoder = Precomputed().build()
    items = [item(0, embedding=lambda: ROWS[0]), item(1, path=Path("b.jpg"), embedding=broken)]
    with pytest.raises(PrefixcapError, match=r"b\.jpg: the image cannot be read: truncated file"):
        encode(encoder, items)
    ((first, second),) = iter_encoded(encoder, items)
    assert first.feature is not None
    assert second.feature is None
    assert str(second.error) == "b.jpg: the image cannot be read: truncated file"
    done: list[tuple[int, int]] = []
    features = encode(
        encoder, items, batch_size=1, on_error="skip", progress=lambda *counts: done.append(counts)
    )
    assert features.isnan().all(1).tolist() == [False, True]
    assert done == [(1, 2), (2, 2)]
    with pytest.raises(PrefixcapError, match="no image could be read"):
        encode(encoder, items[1:], on_error="skip")


def test_ids_meet_other_names_of_an_image(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3.0, dtype=np.float32)[:, None])
    (tmp_path / "ids.txt").write_text("COCO_val2014_000000000042.jpg\n9\nphotos/dog.png\n")
    encoder = Precomputed(path=str(tmp_path / "x.npy"), ids=str(tmp_path / "ids.txt")).build()
    names = ("42", "000000000042.jpg", "COCO_train2014_000000000009.jpg", "dog")
    rows = [encoder.preprocess(ImageItem(id=name, index=7)).tolist() for name in names]
    assert rows == [[0], [0], [1], [2]]
    with pytest.raises(PrefixcapError, match="no row belongs to the image '43'"):
        encoder.preprocess(ImageItem(id="43", index=0))


def test_texts_are_found_by_their_text(tmp_path: Path) -> None:
    path, captions = tmp_path / "texts.npy", tmp_path / "captions.txt"
    np.save(path, ROWS)
    captions.write_text("a dog\na cat \na dog\nA dog\n\xe9t\xe9\n", encoding="utf-8")
    spec = f"precomputed:texts={path},captions={captions}"
    encoder = default_registry().parse(EncoderConfig, spec).build()
    found = encoder.encode_text(["a cat", "A dog", " a dog", "\xe9t\xe9"])
    assert found is not None
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(ROWS[[1, 3, 0, 4]]).float())
    assert encoder.digest() != Precomputed().build().digest()
    with pytest.raises(PrefixcapError, match=r"has no embedding of the text 'a bird': stored emb"):
        encoder.encode_text(["a bird"])
    assert Precomputed().build().encode_text(["a dog"]) is None
    with pytest.raises(PrefixcapError, match="'texts' are the embeddings of the lines of 'capt"):
        default_registry().parse(EncoderConfig, f"precomputed:texts={path}")
