"""The functions at the top of the package, as a script or a notebook uses them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import prefixcap

SCENES = "scenes:train=24,val=6,test=8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = prefixcap.Study(
        dataset=SCENES,
        mappers="linear",
        prefix_lengths=[1, 2],
        decoders=["greedy", prefixcap.Beam(num_beams=2)],
        metrics=["cider", "length"],
        training="epochs=1",
        device="cpu",
    )
    folder: Path = tmp_path_factory.mktemp("api") / "study"
    prefixcap.run_study(study, str(folder))
    return folder


def test_a_study_of_specs_is_run_and_read_as_a_data_frame(folder: Path) -> None:
    study = prefixcap.load_study(folder)
    assert repr(study) == f"<SavedStudy {folder}: 4 cells, 8 images>"
    frame = study.to_pandas()
    cells = frame[frame["decoder"].isin(["greedy", "beam:num_beams=2"])]
    assert sorted(cells["prefix_length"]) == [1, 1, 2, 2]
    assert frame["CIDEr"].notna().all()


def test_rows_of_a_study_are_compared(folder: Path) -> None:
    result = prefixcap.compare(f"{folder}::P=1 greedy", "::P=2 greedy")
    assert "CIDEr" in repr(result)
    assert len(repr(result)) < 400


def test_a_captioner_is_trained_captions_and_is_scored() -> None:
    data = prefixcap.Scenes(train=24, val=6, test=8).build()
    examples, test = data.examples("train"), data.examples("test")
    features = prefixcap.encode("scenes-clip", [example.image for example in examples])
    captioner = prefixcap.train(
        "scenes-gpt2",
        "linear",
        2,
        "frozen",
        features,
        [example.references for example in examples],
        config=prefixcap.TrainingConfig(epochs=1),
    )
    captioner.encoder_config = prefixcap.ScenesClip()
    assert "linear" in repr(captioner)
    assert len(repr(captioner)) < 200
    hypotheses = captioner.caption([example.image for example in test], decoder="greedy")
    records = [
        prefixcap.Record(image=e.image.id, references=e.references, prediction=best.text)
        for e, (best, *_) in zip(test, hypotheses, strict=True)
    ]
    scores = prefixcap.evaluate(records, ["length", prefixcap.Distinct()])
    assert {"Length", "Distinct_1"} <= set(scores.values)


def test_reprs_are_short() -> None:
    data, encoder = (
        prefixcap.Scenes(train=24, val=6, test=8).build(),
        "<CLIPEncoder: features (256)>",
    )
    assert repr(data) == "<ScenesDataset: train, val, test>"
    assert repr(prefixcap.ScenesClip().build()) == encoder
    assert repr(prefixcap.Registry()).startswith("<Registry: 6 of encoder, ")
    scores = prefixcap.Scores(values={"CIDEr": 1.0}, per_image={"CIDEr": (0.5,) * 5000})
    assert repr(scores) == "Scores(values={'CIDEr': 1.0})"
    study = prefixcap.Study(dataset=SCENES, decoders="greedy", metrics="cider")
    assert repr(study).endswith("decoders=[greedy], metrics=[cider], seeds=[0], 1 cells)")


def test_a_study_keeps_equal_configs_once_and_the_recommended_training() -> None:
    study = prefixcap.Study(
        dataset=SCENES,
        decoders=["beam", "beam:num_beams=5", prefixcap.Beam()],
        seeds=[1, 0, 1],
        training="learning_rate=1e-3",
    )
    assert study.decoders == (prefixcap.Beam(),)
    assert study.seeds == (1, 0)
    assert study.training == prefixcap.TrainingConfig(epochs=3, learning_rate=1e-3)


def test_an_unknown_spec_is_named() -> None:
    with pytest.raises(prefixcap.PrefixcapError, match="no mapper 'lineal'; did you mean 'linear'"):
        prefixcap.Study(mappers=["lineal"])
    with pytest.raises(prefixcap.PrefixcapError, match="no setting 'epoch'; did you mean 'epochs'"):
        prefixcap.Study(training="epoch=1")


def test_every_public_name_exists_and_is_listed() -> None:
    for name in prefixcap._HOMES:
        assert getattr(prefixcap, name) is not None
        assert name in dir(prefixcap)


def test_type_checkers_know_every_public_name() -> None:
    tree = ast.parse(Path(prefixcap.__file__).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {alias.asname: node.module for node in imports for alias in node.names} == {
        name: f"prefixcap.{module}" for name, module in prefixcap._HOMES.items()
    }
