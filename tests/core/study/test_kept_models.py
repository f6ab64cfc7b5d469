"""Models of trainings that diverge, and of the last epochs of others."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from core.study.test_guards import Recorder
from core.training.breaking import BreakingPlugin, BreaksAt

from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import DivergedError, PrefixcapError
from prefixcap.plugin import host
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.runner import run_study
from prefixcap.study.execution.training import train_one


@pytest.fixture(scope="module")
def diverging(small: Study) -> Study:
    """A study whose second model diverges in its second epoch."""
    training = attrs.evolve(small.training, epochs=2, batch_size=20)
    mappers = (*small.mappers, BreaksAt(call=5))
    return attrs.evolve(small, mappers=mappers, training=training, baselines=False)


def test_a_study_finishes_everything_else(diverging: Study, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(PrefixcapError, match="1 of the study's models could not be tra") as got:
            run_study(diverging, tmp_path)
        assert "the loss became nan in step 5 (epoch 2): lower the training's lear" in str(
            got.value
        )
        (failed,) = tmp_path.glob("models/breaks-*")
        assert f"the model of epoch 1 is saved in {failed / 'last_good'} (for" in str(got.value)
        names = [path.name for path in sorted(failed.iterdir())]
        assert names == ["epochs.csv", "last_good", "training.ckpt"]
        assert len(list(tmp_path.glob("models/*/key.json"))) == 1
        assert len(list(tmp_path.glob("cells/linear-*/scores.json"))) == 2
    registry = Registry([*default_registry().plugins, host.from_object(BreakingPlugin(), "breaks")])
    model = Captioner.load(failed / "last_good", registry=registry)
    assert len(model.history["val_loss"]) == 1


def test_a_single_training_starts_anew_with_other_settings(
    diverging: Study, tmp_path: Path
) -> None:
    single = attrs.evolve(diverging, mappers=diverging.mappers[1:])
    with pytest.raises(DivergedError, match="in step 5"):
        train_one(single, tmp_path, Recorder())
    # it breaks in its fifth step too, but takes only four
    bigger = attrs.evolve(single, training=attrs.evolve(single.training, batch_size=40))
    recorder = Recorder()
    assert train_one(bigger, tmp_path, recorder)["epochs"] == 2
    assert any("is the state of another training" in message for message in recorder.messages)
    assert not (tmp_path / "last_good").exists()
    assert not (tmp_path / "training.ckpt").exists()


def test_the_last_model_is_kept_beside_the_best_one(small: Study, tmp_path: Path) -> None:
    training = "keep_by=cider:tokenizer=characters,patience=1,epochs=12,learning_rate=0.05"
    training += ",batch_size=10"
    single = attrs.evolve(small, training=training, baselines=False)
    assert train_one(single, tmp_path, Recorder())["epochs"] == 3
    best, last = Captioner.load(tmp_path), Captioner.load(tmp_path / "last")
    assert (best.history["best_epoch"], last.history["best_epoch"]) == (2, 3)
    scores = [next(iter(each.values())) for each in best.history["val_scores"]]
    assert scores[1] == max(scores) > scores[2]
    assert (tmp_path / "epochs.csv").read_text().splitlines()[2].split(",")[5] == str(scores[1])
    assert best.history["val_scores"] == last.history["val_scores"]
    assert not torch.equal(*(next(model.prefixer.parameters()) for model in (best, last)))
    # an altered one is trained again
    weights = tmp_path / "last" / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    recorder = Recorder()
    train_one(single, tmp_path, recorder)
    assert f"{weights} was altered" in recorder.messages[0]
    assert weights.read_bytes() == content


def test_a_study_says_early_what_cannot_choose_an_epoch(small: Study, tmp_path: Path) -> None:
    for keep_by, reason in (("CIDERR", "no score or metric 'CIDERR'"), ("clip", "no score")):
        study = attrs.evolve(small, training=attrs.evolve(small.training, keep_by=keep_by))
        with pytest.raises(PrefixcapError, match=reason):
            run_study(study, tmp_path)
    assert not (tmp_path / "features").exists()
