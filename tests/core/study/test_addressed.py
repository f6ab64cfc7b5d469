"""A change recomputes exactly what depends on it, and undoing it reuses everything."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import attrs
import pytest
import torch
from cli_world import draw, make_world

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.bridge import BridgeConfig
from prefixcap.interfaces.component import PATH, Component
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.study.artifacts.folder import StudyFolder, StudyJob
from prefixcap.study.artifacts.keys import (
    InputDigests,
    PlannedModel,
    component_key,
    decoder_key,
    lm_key,
    model_key,
    planned_models,
    scores_key,
)
from prefixcap.study.definition import options
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.plan import plan
from prefixcap.study.execution.prune import UNUSED, USED, of_study
from prefixcap.study.execution.runner import run_study
from prefixcap.training.config import TrainingConfig
from prefixcap.util.files import read_json, write_json

IMAGES, TEST = 44, 8
PLANNED = ("encoded_images", "trained_models", "decoded_images", "scored_metrics")
NOTHING = dict.fromkeys((*PLANNED, "mapped_images"), 0)
SCORES = NOTHING | {"scored_metrics": 2}
CAPTIONS = SCORES | {"mapped_images": TEST, "decoded_images": 2 * TEST}
ONE_DECODER = NOTHING | {"scored_metrics": 1, "mapped_images": TEST, "decoded_images": TEST}
MODEL = CAPTIONS | {"trained_models": 1}
EVERYTHING = MODEL | {"encoded_images": IMAGES}

Change = Callable[[], contextlib.AbstractContextManager[Any]]


class Base:
    """A study in which images, captions and weights can be changed."""

    def __init__(self, folder: Path) -> None:
        world = make_world(folder)
        self.data, self.clip, self.lm = world.data, folder / "clip.pt", folder / "weights"
        (self.data / "features.npy").unlink()
        shipped = Path(__file__).parents[3] / "plugins/prefixcap_scenes/weights/clip/scenes-clip.pt"
        self.clip.write_bytes(shipped.read_bytes())
        lm = (
            options.study({"lm": f"hf:model={world.lm},init=random"}, default_registry())
            .lms[0]
            .build()
        )
        lm.module.save_pretrained(self.lm)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (self.lm / file).write_bytes((world.lm / file).read_bytes())

    def choices(self, **more: object) -> dict[str, object]:
        return {
            "dataset": f"jsonl:path={self.data}",
            "encoder": f"clip:model={self.clip}",
            "lm": f"hf:model={self.lm}",
            "mapper": "linear",
            "prefix_len": "2",
            "epochs": 1,
            "decoder": ["greedy", "top-p"],
            "metrics": "length",
            "max_new_tokens": 6,
            "no_baselines": True,
            **more,
        }

    def study(self, **more: object) -> Study:
        return options.study(self.choices(**more), default_registry())


@contextlib.contextmanager
def rewritten(file: Path, change: Callable[[Path], object]) -> Iterator[None]:
    before = file.read_bytes()
    change(file)
    assert file.read_bytes() != before
    yield
    file.write_bytes(before)


def replaced(old: str, new: str) -> Callable[[Path], object]:
    return lambda file: file.write_text(file.read_text().replace(old, new))


def first_test_first(file: Path) -> None:
    """Renumber most images in the data set without changing the splits."""
    lines = file.read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if '"test"' in line)
    file.write_text("".join([lines.pop(first), *lines]))


def one_number_more(file: Path) -> None:
    state = torch.load(file)
    name = next(name for name, tensor in state.items() if tensor.ndim == 2)
    state[name][0, 0] += 1
    torch.save(state, file)


def one_weight_more(file: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(file)
    state["transformer.ln_f.bias"][0] += 1
    save_file(state, file, {"format": "pt"})


def test_a_change_recomputes_exactly_what_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, folder = Base(tmp_path), tmp_path / "study"
    captions = base.data / "captions.jsonl"

    def work(**more: object) -> dict[str, int]:
        study = base.study(**more)
        planned = plan(study, folder)["missing"]
        result = run_study(study, folder).work
        of_work = zip(planned.values(), (result[key] for key in PLANNED), strict=True)
        if result["encoded_images"] == 0:  # what hangs on images is not known before
            assert all(bool(a) == bool(b) for a, b in of_work), (planned, result)
        return result

    def version(component: type[Component]) -> contextlib.AbstractContextManager[None]:
        @contextlib.contextmanager
        def changed() -> Iterator[None]:
            with monkeypatch.context() as patch:
                patch.setattr(component, "version", "changed")
                yield

        return changed()

    def config(kind: str, name: str) -> type[Component]:
        return default_registry().config_class(kind, name)

    assert work() == EVERYTHING
    assert work() == NOTHING

    black = lambda file: draw(file, (1, 2, 3))  # noqa: E731
    one_image = MODEL | {"encoded_images": 1}
    changes: list[tuple[str, Change, dict[str, int]]] = [
        ("encoder's weights", lambda: rewritten(base.clip, one_number_more), EVERYTHING),
        ("encoder's version", lambda: version(config("encoder", "clip")), EVERYTHING),
        (
            "language model's weights",
            lambda: rewritten(base.lm / "model.safetensors", one_weight_more),
            MODEL,
        ),
        (
            "tokenizer",
            lambda: rewritten(
                base.lm / "tokenizer.json",
                replaced('"add_prefix_space": false', '"add_prefix_space": true'),
            ),
            MODEL,
        ),
        ("language model's version", lambda: version(config("lm", "hf")), MODEL),
        ("mapper's version", lambda: version(config("mapper", "linear")), MODEL),
        ("tuning's version", lambda: version(config("tuning", "frozen")), MODEL),
        ("decoder's version", lambda: version(config("decoder", "greedy")), ONE_DECODER),
        ("metric's version", lambda: version(config("metric", "length")), SCORES),
        ("data set's version", lambda: version(config("dataset", "jsonl")), EVERYTHING),
        ("the images' numbers", lambda: rewritten(captions, first_test_first), NOTHING),
        (
            "a training image",
            lambda: rewritten(base.data / "images" / "train-3.png", black),
            one_image,
        ),
        ("a val image", lambda: rewritten(base.data / "images" / "val-3.png", black), one_image),
        (
            "a test image",
            lambda: rewritten(base.data / "images" / "test-3.png", black),
            CAPTIONS | {"encoded_images": 1},
        ),
    ]
    for split, expected in (("train", MODEL), ("val", MODEL), ("test", SCORES)):
        first = next(line for line in captions.read_text().splitlines() if f'"{split}"' in line)
        other = first.replace("There is", "Here is")
        changes.append(
            (
                f"a {split} caption",
                lambda first=first, other=other: rewritten(captions, replaced(first, other)),  # type: ignore[misc]
                expected,
            )
        )
    for what, change, expected in changes:
        with change():
            assert work() == expected, what
        # scores are kept once for each metric, and everything else for each of its makers
        assert work() == (SCORES if expected == SCORES else NOTHING), f"{what}, undone"

    settings: list[tuple[dict[str, object], dict[str, int]]] = [
        ({"epochs": 2}, MODEL),
        ({"training": "batch_size=7"}, MODEL),
        ({"seed": "1"}, MODEL),
        ({"prefix_len": "3"}, MODEL),
        ({"tuning": "full"}, MODEL),
        ({"dtype": "bfloat16"}, MODEL),
        ({"limit": 7}, MODEL | {"mapped_images": 7, "decoded_images": 14}),
        ({"encode_batch": 3, "max_rows": 2, "correction": "benjamini-hochberg"}, NOTHING),
        ({"max_new_tokens": 5}, CAPTIONS),
        ({"decoder": ["greedy", "top-p:top_p=0.5"]}, ONE_DECODER),
        ({"metrics": "distinct"}, SCORES),
    ]
    for more, expected in settings:
        assert work(**more) == expected, more
    assert work() == NOTHING

    # the same weights by another spelling of their paths, and somewhere else
    monkeypatch.chdir(base.lm)
    relative: dict[str, object] = {
        "dataset": "jsonl:path=../data",
        "encoder": "clip:model=../weights/../clip.pt",
        "lm": "hf:model=.",
    }
    assert work(**relative) == NOTHING
    monkeypatch.chdir(tmp_path)
    # ... and what is not used is still known from anywhere
    assert {artifact.path for artifact in of_study(folder) if artifact.state == USED}
    base.clip, base.lm = base.clip.rename("other.pt"), base.lm.rename("moved")
    assert work() == NOTHING
    assert work(decoder="beam") == ONE_DECODER  # loads the model that was trained before the move


def test_two_places_of_the_same_weights_are_no_comparison(tmp_path: Path) -> None:
    base = Base(tmp_path)
    shutil.copytree(base.lm, tmp_path / "copy")
    study = base.study(lm=[f"hf:model={base.lm}", f"hf:model={tmp_path / 'copy'}"])
    with pytest.raises(PrefixcapError, match=r"weights and hf:model=\S+copy have the same weights"):
        run_study(study, tmp_path / "study")


def test_subcomponents_of_a_decoder_are_part_of_its_key(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = default_registry()
    lm = tmp_path / "amateur"
    small.lms[0].build().module.save_pretrained(lm)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (lm / file).write_bytes((Path(small.lms[0].model) / file).read_bytes())
    decoders = [
        registry.parse(registry.config_class("decoder", "greedy").__mro__[1], spec)
        for spec in ("guidance", f"contrastive-decoding:amateur=hf:model={lm}")
    ]
    study = attrs.evolve(small, decoders=tuple(decoders), baselines=False)
    folder = tmp_path / "study"
    assert run_study(study, folder).work["decoded_images"] == 16
    assert run_study(study, folder).work == NOTHING
    with monkeypatch.context() as patch:
        patch.setattr(registry.config_class("decoder", "greedy"), "version", "changed")
        assert run_study(study, folder).work == CAPTIONS
    assert run_study(study, folder).work == NOTHING
    with rewritten(lm / "model.safetensors", one_weight_more):
        assert run_study(study, folder).work == ONE_DECODER
    assert run_study(study, folder).work == NOTHING


def test_the_weights_of_subcomponents_are_part_of_the_key(tmp_path: Path) -> None:
    base = Base(tmp_path)
    (encoder,), (lm,) = (base.study().encoders, base.study().lms)
    before = component_key(encoder, "cpu"), component_key(lm, "cpu")
    with rewritten(base.lm / "model.safetensors", one_weight_more):
        assert component_key(encoder, "cpu") == before[0]
        assert component_key(lm, "cpu") != before[1]
    with rewritten(base.clip, one_number_more):
        assert component_key(encoder, "cpu") != before[0]
        assert component_key(lm, "cpu") == before[1]


@attrs.frozen(kw_only=True)
class Named(EncoderConfig):
    """An encoder whose features depend on all that can enter a key."""

    name = "named"
    outside: ClassVar[str] = "file"
    setting: int = 0

    def external_digests(self) -> tuple[str, ...]:
        return (self.outside,)

    def build(self, device: str = "cpu") -> Any:
        return SimpleNamespace(digest=lambda: f"weights on {device}")


@attrs.frozen(kw_only=True)
class Plain(Component):
    kind, name = "metric", "plain"
    setting: int = 0


def test_settings_and_external_digests_of_subcomponents_are_part_of_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs = [Named(), Named(setting=1), Plain(), Plain(setting=1)]
    keys = {component_key(config, device) for config in configs for device in ("cpu", "meta")}
    assert len(keys) == 2 * 2 + 2  # only what is built depends on the device
    monkeypatch.setattr(Named, "outside", "changed")
    assert component_key(Named(), "cpu") not in keys


def test_every_input_is_part_of_the_keys(small: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    (model, *_) = small.models(small.encoders[0], small.lms[0])
    inputs = InputDigests(training="a", test="b", references="c", lm="d")
    registry = default_registry()
    changed = [
        (small, model, attrs.evolve(inputs, training="changed")),
        (small, model, attrs.evolve(inputs, lm="changed")),
        (small, attrs.evolve(model, prefix_length=3), inputs),
        (small, attrs.evolve(model, seed=1), inputs),
        (small, attrs.evolve(model, mapper=registry.parse(MapperConfig, "mlp")), inputs),
        (small, attrs.evolve(model, tuning=registry.parse(TuningConfig, "frozen")), inputs),
        *(
            (small, attrs.evolve(model, bridge=registry.parse(BridgeConfig, spec)), inputs)
            for spec in ("none", "noise", "noise:noise=0.1")
        ),
        (attrs.evolve(small, dtype="bfloat16"), model, inputs),
        (attrs.evolve(small, training=TrainingConfig(epochs=2)), model, inputs),
    ]
    keys = [model_key(*each) for each in ((small, model, inputs), *changed)]
    monkeypatch.setattr("prefixcap.study.artifacts.keys.SENTENCES", "changed")
    keys.append(model_key(small, model, inputs))
    assert len(set(keys)) == len(changed) + 2
    assert len({scores_key(a, b) for a in "xy" for b in "xz"}) == 4
    lm = SimpleNamespace(digest=lambda: "weights")
    probes = []
    for split in ("one way", "another way"):
        monkeypatch.setattr("prefixcap.captioning.loading.probe", lambda _, split=split: split)
        probes.append(lm_key(lm))  # type: ignore[arg-type]
    assert probes[0] != probes[1]


def test_another_split_costs_its_captions_alone(small: Study, tmp_path: Path) -> None:
    plain = attrs.evolve(small, baselines=False)
    val = attrs.evolve(plain, split="Validation")
    tested = run_study(plain, tmp_path)
    scored = run_study(val, tmp_path)
    captions = NOTHING | {"scored_metrics": 2, "mapped_images": 6, "decoded_images": 12}
    assert scored.work == captions
    assert [row["split"] for row in (*tested.rows, *scored.rows)] == ["test"] * 2 + ["val"] * 2
    assert {row["val_loss"] for row in tested.rows} == {row["val_loss"] for row in scored.rows}
    assert all(row["val_loss"] > 0 for row in tested.rows)
    (warning,) = (text for text in scored.warnings if "stops the training" in text)
    assert warning.startswith("warning: 'val' is scored, and also stops the training")
    assert not any("split" in text for text in tested.warnings)
    assert "these 6 of 'val'" in StudyFolder(tmp_path).table.read_text()
    assert "val loss" in StudyFolder(tmp_path).table.read_text()
    assert run_study(plain, tmp_path).work == NOTHING


@pytest.mark.parametrize(
    ("split", "error"),
    [
        ("train", "--split: 'train' of the data set .* is trained on; known: test, val"),
        ("tset", "--split: 'tset' of the data set .* does not exist; did you mean 'test'"),
    ],
)
def test_a_split_that_cannot_be_scored(
    small: Study, tmp_path: Path, split: str, error: str
) -> None:
    with pytest.raises(PrefixcapError, match=error):
        run_study(attrs.evolve(small, split=split), tmp_path)


@attrs.frozen(kw_only=True)
class Reading(Component):
    kind, name = "metric", "reading"
    path: str = attrs.field(metadata=PATH)


def test_only_what_is_digested_may_move(tmp_path: Path) -> None:
    base = Base(tmp_path)
    (lm,) = base.study().lms
    shutil.copytree(base.lm, tmp_path / "copy")
    moved = default_registry().parse(LMConfig, f"hf:model={tmp_path / 'copy'}")
    assert component_key(moved, "cpu") == component_key(lm, "cpu")
    here, there = (Reading(path=str(path)) for path in (base.lm, tmp_path / "copy"))
    assert component_key(here, "cpu") != component_key(there, "cpu")


def test_the_captions_of_a_draft_are_part_of_the_key(tmp_path: Path) -> None:
    base = Base(tmp_path)
    spec = f"speculative:captions=jsonl:path={base.data}"
    inner, outer = (
        default_registry().parse(DecoderConfig, each) for each in (spec, f"guidance:decoder={spec}")
    )
    before = decoder_key(inner, "cpu"), decoder_key(outer, "cpu")
    captions = base.data / "captions.jsonl"
    with rewritten(captions, replaced("There is", "Here is")):
        assert decoder_key(inner, "cpu") != before[0]
        assert decoder_key(outer, "cpu") != before[1]
    assert (decoder_key(inner, "cpu"), decoder_key(outer, "cpu")) == before


def test_captions_of_another_device_are_still_used(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*arguments: Any, **named: Any) -> list[PlannedModel]:
        return planned_models(*arguments, **named | {"decoded_on": "cuda"})

    with monkeypatch.context() as patch:
        patch.setattr("prefixcap.study.artifacts.keys.planned_models", elsewhere)
        run_study(small, tmp_path)
    config = tmp_path / "config.json"
    write_json(config, (read_json(config) or {}) | {"ran_on": "cuda"})
    assert {artifact.state for artifact in of_study(tmp_path)} == {USED}
    assert UNUSED in {artifact.state for artifact in of_study(tmp_path, small)}


def test_several_gpus_share_captions(small: Study, tmp_path: Path) -> None:
    inputs = InputDigests(training="a", test="b", references="c", lm="d")
    encoder, lm, job = small.encoders[0], small.lms[0], StudyJob(small, tmp_path)
    result = {
        device: [
            cell.key
            for planned in planned_models(job, encoder, lm, inputs, decoded_on=device)
            for cell in planned.cells
        ]
        for device in ("cuda", "cuda:0", "cuda:1", "cpu")
    }
    assert result["cuda"] == result["cuda:0"] == result["cuda:1"] != result["cpu"]


def test_the_content_of_a_draft_run_is_part_of_the_key(small: Study, tmp_path: Path) -> None:
    first = run_study(attrs.evolve(small, baselines=False), tmp_path / "first")
    (model,) = (key.parent for key in (first.folder / "models").glob("*/key.json"))
    shutil.copytree(model, tmp_path / "draft")
    spec = f"speculative:run={tmp_path / 'draft'}"
    study = attrs.evolve(
        small, decoders=(default_registry().parse(DecoderConfig, spec),), baselines=False, labels={}
    )
    folder = tmp_path / "study"
    assert run_study(study, folder).work["decoded_images"] == 8
    assert run_study(study, folder).work == NOTHING
    # the folder of a study with one model stands for the model
    whole = default_registry().parse(DecoderConfig, f"speculative:run={first.folder}")
    assert whole.external_digests() == study.decoders[0].external_digests()
    # also where another decoder runs it
    outer = default_registry().parse(DecoderConfig, f"guidance:decoder={spec}")
    before = decoder_key(outer, "cpu")
    # another model at the same place
    other = run_study(attrs.evolve(small, seeds=(1,), baselines=False), tmp_path / "other")
    (model,) = (key.parent for key in (other.folder / "models").glob("*/key.json"))
    shutil.copytree(model, tmp_path / "draft", dirs_exist_ok=True)
    assert decoder_key(outer, "cpu") != before
    assert run_study(study, folder).work == ONE_DECODER
