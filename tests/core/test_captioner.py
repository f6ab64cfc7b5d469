from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import prefixcap
from prefixcap.captioning import checkpoint
from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import ImageItem
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train
from prefixcap.util.files import read_json, write_json
from prefixcap.util.runtime import dtype_of

CAPTIONS = [["a red dog runs."], ["two blue cats sit."]] * 4


def lm_folder(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A tiny GPT-2 with a tokenizer of letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = [*"abcdefghijklmnopqrstuvwxyzAT,. ?", "<end>"]
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(letters)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="?"
    ).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        settings = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 96, **changes}
        config = GPT2Config(vocab_size=len(letters), eos_token_id=len(letters) - 1, **settings)
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def features() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def make(folder: Path, tuning: str = "frozen", dtype: str = "float32") -> Captioner:
    registry = default_registry()
    lm_config = registry.parse(LMConfig, f"hf:model={folder}")
    captioner = train(
        lm_config.build(dtype=dtype),
        registry.parse(MapperConfig, "mlp"),
        2,
        registry.parse(TuningConfig, tuning),
        features(),
        CAPTIONS,
        config=TrainingConfig(epochs=2, learning_rate=1e-2),
    )
    np.save(folder / "features.npy", features().numpy())
    encoder_config = registry.parse(EncoderConfig, f"precomputed:path={folder}/features.npy")
    captioner.lm_config, captioner.encoder_config = lm_config, encoder_config
    captioner.encoder_digest = encoder_config.build().digest()
    return captioner


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lm_folder(tmp_path_factory.mktemp("lm"))


@pytest.fixture
def run(lm: Path, tmp_path: Path) -> Path:
    return make(lm).save(tmp_path / "run")


@pytest.mark.parametrize(
    "tuning", ["frozen", "full", "lora", "ia3", "adapter:width=3", "bitfit", "layernorm"]
)
def test_a_loaded_captioner_writes_the_same_captions(tuning: str, lm: Path, tmp_path: Path) -> None:
    first, state = make(lm, tuning), torch.get_rng_state()
    second = prefixcap.Captioner.load(first.save(tmp_path / "run"), device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    for decoder in ("greedy", "beam:num_beams=3", "top-p"):
        options: dict[str, Any] = {"decoder": decoder, "seed": 3, "max_new_tokens": 12}
        result = [c.caption(features=features(), **options) for c in (first, second)]
        assert result[0] == result[1]
    assert torch.equal(first.prefixes(features()), second.prefixes(features()))
    assert second.history == first.history
    assert second.training == first.training


def test_the_repr_of_a_captioner_is_one_line(run: Path, lm: Path) -> None:
    assert repr(Captioner.load(run, device="cpu")) == (
        f"Captioner(mapper='mlp', prefix_length=2, lm='hf:model={lm}', tuning='frozen', "
        "device='cpu')"
    )


def test_only_what_was_trained_is_saved(lm: Path, tmp_path: Path) -> None:
    _, frozen = checkpoint.read(make(lm).save(tmp_path / "frozen"))
    _, full = checkpoint.read(make(lm, "full").save(tmp_path / "full"))
    _, lora = checkpoint.read(make(lm, "lora").save(tmp_path / "lora"))
    assert not [name for name in frozen if name.startswith("lm.")]
    assert "lm.transformer.wte.weight" in full
    added = [name for name in lora if name.startswith("lm.")]
    assert len(added) == 8
    assert all("lora" in name for name in added)


@pytest.mark.parametrize("tuning", ["lora", "ia3", "adapter:width=3"])
def test_a_tuning_that_adds_parameters_trains_beside_a_model_in_bfloat16(
    tuning: str, lm: Path, tmp_path: Path
) -> None:
    first = make(lm, tuning, "bfloat16")
    dtypes = {p.dtype for p in first.lm.module.parameters() if p.requires_grad}
    assert dtypes == {torch.float32}
    second = Captioner.load(first.save(tmp_path / "run"), device="cpu")
    assert dtype_of(second.decoding_lm.module) == "bfloat16"
    for decoder in ("greedy", "beam"):
        options: dict[str, Any] = {"decoder": decoder, "max_new_tokens": 9}
        captions = [c.caption(features=features(), **options) for c in (first, second)]
        assert captions[0] == captions[1]


def test_captions_follow_what_is_trained_further(lm: Path) -> None:
    captioner = make(lm, "lora")
    options: dict[str, Any] = {"decoder": "greedy", "max_new_tokens": 12}
    before, copied = captioner.caption(features=features(), **options), captioner.decoding_lm
    assert captioner.decoding_lm is copied
    trained = [p for p in captioner.lm.module.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    assert captioner.caption(features=features(), **options) != before
    assert captioner.decoding_lm is not copied
    assert [p for p in captioner.lm.module.parameters() if p.requires_grad] == trained


def test_a_folded_model_that_another_training_froze_is_saved_completely(
    lm: Path, tmp_path: Path
) -> None:
    first = make(lm, "lora")
    wanted = first.caption(features=features())
    first.lm.module.requires_grad_(False)
    second = Captioner.load(first.save(tmp_path / "run"))
    assert second.caption(features=features()) == wanted


def test_a_tuned_model_is_saved_completely_after_it_was_frozen(lm: Path, tmp_path: Path) -> None:
    first = make(lm, "full")
    wanted = first.caption(features=features())
    registry = default_registry()
    train(
        first.lm,
        registry.parse(MapperConfig, "linear"),
        2,
        registry.parse(TuningConfig, "frozen"),
        features(),
        [["a dog runs"]] * len(features()),
        config=TrainingConfig(epochs=1),
    )
    second = Captioner.load(first.save(tmp_path / "run"))
    assert second.caption(features=features()) == wanted


def test_a_tuned_run_needs_only_the_config_and_the_tokenizer(lm: Path, tmp_path: Path) -> None:
    first = make(lm, "full")
    first.lm_config = default_registry().parse(LMConfig, f"hf:model={lm},init=random,seed=5")
    second = Captioner.load(first.save(tmp_path / "run"))
    assert first.caption(features=features()) == second.caption(features=features())


def test_a_captioner_may_be_saved_again(run: Path, tmp_path: Path) -> None:
    again = Captioner.load(run).save(tmp_path / "again")
    assert (again / checkpoint.WEIGHTS).read_bytes() == (run / checkpoint.WEIGHTS).read_bytes()
    assert (again / checkpoint.CONFIG).read_bytes() == (run / checkpoint.CONFIG).read_bytes()


def test_the_dtype_is_restored_and_can_be_changed(lm: Path, tmp_path: Path) -> None:
    saved = make(lm, dtype="bfloat16").save(tmp_path / "run")
    assert next(Captioner.load(saved).lm.module.parameters()).dtype == torch.bfloat16
    other = Captioner.load(saved, dtype="float32")
    assert next(other.lm.module.parameters()).dtype == torch.float32
    with pytest.raises(PrefixcapError, match="unknown dtype 'float23'"):
        Captioner.load(saved, dtype="float23")


def test_captions_do_not_depend_on_the_batch(run: Path) -> None:
    captioner = Captioner.load(run)
    ids = [f"image{n}" for n in range(8)]
    whole = captioner.caption(features=features(), decoder="top-p", image_ids=ids, n=2)
    for n in range(8):
        alone = captioner.caption(
            features=features()[n : n + 1], decoder="top-p", image_ids=[ids[n]], n=2
        )
        assert [h.ids for h in alone[0]] == [h.ids for h in whole[n]]
        assert len(alone[0]) == 2


def test_images_are_encoded_before_captioning(lm: Path, tmp_path: Path) -> None:
    class Brightness(prefixcap.Encoder):
        width, tokens = 4, None

        def preprocess(self, image: prefixcap.ImageItem) -> Tensor:
            return torch.from_numpy(np.asarray(image.open().convert("RGB"), dtype=np.float32))

        def encode(self, inputs: Tensor) -> Tensor:
            return inputs.mean((1, 2, 3))[:, None].expand(-1, 4) / 255

        def digest(self) -> str:
            return "brightness"

    captioner = make(lm)
    captioner.encoder = Brightness()
    image = Image.new("RGB", (4, 4), (255, 255, 255))
    image.save(tmp_path / "white.png")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    expected = captioner.caption(features=torch.ones(1, 4), decoder="greedy")
    for given in (tmp_path / "white.png", str(tmp_path / "white.png"), [image], image):
        assert captioner.caption(given, decoder="greedy") == expected
    with pytest.raises(PrefixcapError, match=r"broken\.png: the image cannot be read"):
        captioner.caption([tmp_path / "white.png", tmp_path / "broken.png"])
    captioner.encoder.encode = lambda inputs: Brightness.encode(captioner.encoder, inputs) / 0  # type: ignore[method-assign]
    with pytest.raises(PrefixcapError, match=r"white\.png: its feature is not finite"):
        captioner.caption(tmp_path / "white.png")
    with pytest.raises(PrefixcapError, match=r"gone\.png: the image does not exist"):
        captioner.caption(tmp_path / "gone.png")


# ------------------------------------------------------------------------------------------- errors


def test_features_that_do_not_fit(run: Path) -> None:
    captioner = Captioner.load(run)
    with pytest.raises(
        PrefixcapError, match=r"shape \(2, 5\) do not fit: the mapper takes \(B,4\)"
    ):
        captioner.caption(features=torch.zeros(2, 5))
    with pytest.raises(PrefixcapError, match="either images or features"):
        captioner.caption()


def test_another_encoder_can_be_used(lm: Path, tmp_path: Path) -> None:
    captioner = make(lm)
    for name, width in (("other", 4), ("wide", 5)):
        np.save(tmp_path / f"{name}.npy", np.ones((8, width), np.float32))
    before = captioner.encoder_config, captioner.encoder_digest
    with pytest.raises(PrefixcapError, match=r"shape \(5\), and this run was trained on .* \(4\)"):
        captioner.use_encoder(f"precomputed:path={tmp_path / 'wide.npy'}")
    assert (captioner.encoder_config, captioner.encoder_digest) == before
    captioner.use_encoder(f"precomputed:path={tmp_path / 'other.npy'}")
    assert captioner.encoder_digest == captioner.built_encoder().digest() != before[1]
    saved = Captioner.load(captioner.save(tmp_path / "run"))
    assert saved.caption([prefixcap.ImageItem(id="x", index=0)])


def test_a_captioner_without_its_config_is_not_saved(lm: Path, tmp_path: Path) -> None:
    captioner = make(lm)
    captioner.lm_config = None
    with pytest.raises(PrefixcapError, match="has no lm_config"):
        captioner.save(tmp_path / "run")


def test_an_encoder_with_other_weights_is_an_error(lm: Path, tmp_path: Path) -> None:
    captioner = make(lm)
    captioner.encoder_digest = "0123456789abcdef"
    loaded = Captioner.load(captioner.save(tmp_path / "run"))
    with pytest.raises(PrefixcapError, match="'precomputed' has other weights"):
        loaded.caption([prefixcap.ImageItem(id="x", index=0)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 1}, "is of format 1, and this version of prefixcap reads format 3"),
        ({"format": None}, "has no format number"),
        ({"weights_sha256": "0"}, "these are not the weights"),
        ({"lm_digest": "0"}, "is not the one that this run was trained with"),
        ({"lm_probe": [1]}, "splits text differently"),
        ({"mapper": {"name": "mlpp"}}, "no mapper 'mlpp'; did you mean 'mlp'"),
        ({"mapper": {"name": "linear"}}, "the weights do not fit the mapper"),
        ({"shape": {}}, "the run's config is broken"),
    ],
)
def test_invalid_configs_are_errors(change: dict[str, Any], reason: str, run: Path) -> None:
    path = run / checkpoint.CONFIG
    write_json(path, {**(read_json(path) or {}), **change})
    with pytest.raises(PrefixcapError, match=reason):
        Captioner.load(run)


def test_another_language_model_is_an_error(lm: Path, run: Path, tmp_path: Path) -> None:
    path = run / checkpoint.CONFIG
    config = read_json(path) or {}
    for changes, reason in (({"seed": 1}, "is not the one"), ({"n_embd": 8}, "has width 8")):
        config["lm"]["model"] = str(lm_folder(tmp_path / reason.replace(" ", ""), **changes))
        write_json(path, config)
        with pytest.raises(PrefixcapError, match=reason):
            Captioner.load(run)


def test_missing_and_broken_files(run: Path, tmp_path: Path) -> None:
    with pytest.raises(PrefixcapError, match="nowhere: the run does not exist"):
        Captioner.load(tmp_path / "nowhere")
    with pytest.raises(PrefixcapError, match=r"the run has no config\.json"):
        Captioner.load(tmp_path)
    (run / checkpoint.WEIGHTS).unlink()
    with pytest.raises(PrefixcapError, match=r"the run has no weights\.safetensors"):
        Captioner.load(run)
    (run / checkpoint.CONFIG).write_text("{")
    with pytest.raises(PrefixcapError, match=r"config\.json was altered .*: copy the run again"):
        Captioner.load(run)


def test_a_failed_save_leaves_the_old_files(
    run: Path, lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert set(before) == {checkpoint.CONFIG, checkpoint.WEIGHTS}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PrefixcapError, match="cannot be saved: No space left on device"):
        make(lm, "full").save(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_run_is_usable_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm_folder(tmp_path / "here" / "lm")
    monkeypatch.chdir(tmp_path / "here")
    first = make(Path("lm"))
    wanted = first.caption(features=features())
    assert "'hf:model=lm'" in repr(first)
    run = first.save(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    loaded = Captioner.load(run, device="cpu")
    assert loaded.caption(features=features()) == wanted
    item = ImageItem(id="x", index=3)
    assert torch.equal(loaded.encode([item])[0], features()[3])
    (tmp_path / "here").rename(tmp_path / "there")
    place = re.escape(str(tmp_path / "here" / "lm"))
    with pytest.raises(PrefixcapError, match=rf"{place}' does not exist.*--lm hf:model=FOLDER"):
        Captioner.load(run, device="cpu")
    moved = Captioner.load(run, device="cpu", lm="hf:model=there/lm")
    assert moved.caption(features=features()) == wanted
    again = moved.save(tmp_path / "again")
    assert Captioner.load(again, device="cpu").caption(features=features()) == wanted
    other = lm_folder(tmp_path / "other", seed=1)
    with pytest.raises(PrefixcapError, match="is not the one that this run was trained with"):
        Captioner.load(run, device="cpu", lm=f"hf:model={other}")
    place = re.escape(str(tmp_path / "here" / "lm" / "features.npy"))
    with pytest.raises(PrefixcapError, match=rf"{place}.* does not exist.*--encoder precomputed"):
        moved.encode([item])
    moved.use_encoder("precomputed:path=there/lm/features.npy")
    assert torch.equal(moved.encode([item])[0], features()[3])
