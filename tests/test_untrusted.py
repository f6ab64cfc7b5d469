"""Nobody's file runs anything: pickles, TorchScript archives and Python code of models.

Each file here would create a marker. `test_every_payload_is_live` shows that it can.
"""

from __future__ import annotations

import builtins
import io
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_world import World, make_world
from malicious import PICKLES, save_torchscript
from prefixcap_clip.configs import CLIP
from prefixcap_clipcap.convert import import_checkpoint
from prefixcap_datasets.configs import ClipCapPickles
from prefixcap_hf.configs import HF
from prefixcap_hf.vision_config import HFVision
from prefixcap_vision.configs import OpenCLIP, Timm
from small_clip import small_clip
from small_vision import hf_folder, open_clip_folder

import prefixcap
from prefixcap.captioning.captioner import Captioner
from prefixcap.cli import main
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import DatasetConfig, ImageItem
from prefixcap.interfaces.mapper import MapperConfig
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.study.artifacts.shards import FeatureShard
from prefixcap.training.checkpoint import TrainingCheckpoint, _head
from prefixcap.training.config import TrainingConfig
from prefixcap.training.train import train
from prefixcap.util import files, weights
from prefixcap.util.feature_files import FeatureFile


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A data set, and a language model with weights."""
    world = make_world(tmp_path_factory.mktemp("world"))
    HF(model=str(world.lm), init="random").build().module.save_pretrained(world.lm)
    return world


@pytest.fixture(scope="module")
def trained(world: World) -> Captioner:
    registry, lm = default_registry(), HF(model=str(world.lm))
    captioner = train(
        lm.build(),
        registry.parse(MapperConfig, "linear"),
        2,
        registry.parse(TuningConfig, "frozen"),
        torch.randn(8, 32, generator=torch.Generator().manual_seed(0)),
        [["A red ball."]] * 8,
        config=TrainingConfig(epochs=1),
    )
    captioner.lm_config = lm
    return captioner


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "something in a file was run"


@pytest.fixture(autouse=True)
def no_trust_and_no_questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    questions: list[object] = []

    def yes(*question: object) -> str:
        questions.append(question)
        return "y"

    monkeypatch.setattr(weights, "_TRUSTED", set())
    monkeypatch.setattr(builtins, "input", yes)
    yield
    assert not questions, "a question was asked on the terminal"


# ------------------------------------------------------------------------------------------ pickles


@pytest.mark.parametrize("kind", PICKLES)
def test_every_payload_is_live(kind: str, tmp_path: Path) -> None:
    content = PICKLES[kind](tmp_path / "marker")
    if "np" in kind:
        loaded = np.load(io.BytesIO(content), allow_pickle=True)
        loaded = loaded["features"] if kind == "npz" else loaded
    elif "torch" in kind:
        torch.load(io.BytesIO(content), weights_only=False)
    else:
        pickle.loads(content)
    assert (tmp_path / "marker").exists()


def rewrite(run: Path, **changes: object) -> Path:
    """Change a run's config and correct its hash."""
    data = files.read_json(run / "config.json") or {}
    data.pop(files.SEAL, None)
    files.write_json(run / "config.json", {**data, **changes})
    return run


def in_lm(name: str) -> Callable[[Path, bytes, World, Captioner], object]:
    """Return a reader of a language model's folder in which a file was replaced."""

    def read(folder: Path, content: bytes, world: World, _: Captioner) -> object:
        shutil.copytree(world.lm, folder / "lm")
        if name.startswith("pytorch_model"):
            (folder / "lm" / "model.safetensors").unlink()
        if name == "pytorch_model-00001-of-00001.bin":
            index = {"metadata": {}, "weight_map": {"transformer.wte.weight": name}}
            (folder / "lm" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        (folder / "lm" / name).write_bytes(content)
        return HF(model=str(folder / "lm")).build()

    return read


def in_encoder(
    config: type[HFVision | OpenCLIP], name: str
) -> Callable[[Path, bytes, World, Captioner], object]:
    """Return a reader of an image encoder's folder whose weights were replaced."""

    def read(folder: Path, content: bytes, *_: object) -> object:
        make = hf_folder if config is HFVision else open_clip_folder
        place = make(folder / "encoder")
        for file in place.glob("*.safetensors"):
            file.unlink()
        (place / name).write_bytes(content)
        return config(model=str(place)).build()

    return read


def in_run(name: str) -> Callable[[Path, bytes, World, Captioner], object]:
    """Return a reader of a run in which a file was replaced, its hash too."""

    def read(folder: Path, content: bytes, _: World, trained: Captioner) -> object:
        run = trained.save(folder / "run")
        (run / name).write_bytes(content)
        if name == "weights.safetensors":
            rewrite(run, weights_sha256=sha256(content).hexdigest())
        return Captioner.load(run, device="cpu")

    return read


def as_file(name: str, read: Callable[[Path], object]) -> Callable[..., object]:
    """Return a reader of a single file."""

    def written(folder: Path, content: bytes, *_: object) -> object:
        (folder / name).write_bytes(content)
        return read(folder / name)

    return written


def dataset_embeddings(folder: Path, content: bytes, world: World, _: Captioner) -> object:
    shutil.copytree(world.data, folder / "data")
    (folder / "data" / "features.npy").write_bytes(content)
    spec = f"jsonl:path={folder / 'data'}"
    dataset = default_registry().parse(DatasetConfig, spec).build()
    image = dataset.examples("train")[0].image
    return image.embedding and image.embedding()


def training_checkpoint(folder: Path, content: bytes, *_: object) -> None:
    """Read a training's state with a true hash, which is dropped with a warning."""
    (folder / "training.ckpt").write_bytes(_head(content) + content)
    said: list[str] = []
    assert TrainingCheckpoint(folder / "training.ckpt", report=said.append).read() is None
    raise PrefixcapError(*said)


READERS: dict[str, Callable[[Path, bytes, World, Captioner], object]] = {
    "clip:model=": as_file("clip.pt", lambda file: CLIP(model=str(file)).build()),
    "open-clip:pretrained=": as_file(
        "clip.pt", lambda file: OpenCLIP(pretrained=str(file)).build()
    ),
    "open-clip .bin": in_encoder(OpenCLIP, "open_clip_pytorch_model.bin"),
    "timm:weights=": as_file(
        "vit.pth", lambda file: Timm(model="test_vit", weights=str(file)).build()
    ),
    "hf-vision .bin": in_encoder(HFVision, "pytorch_model.bin"),
    "import-clipcap": as_file("clipcap.pt", lambda file: import_checkpoint(file, "mlp", 2)),
    "features .npy": as_file("features.npy", FeatureFile),
    "features .safetensors": as_file("features.safetensors", FeatureFile),
    "features .npz": as_file("features.npz", FeatureFile),
    "data set": dataset_embeddings,
    "hf .bin": in_lm("pytorch_model.bin"),
    "hf .bin in parts": in_lm("pytorch_model-00001-of-00001.bin"),
    "hf .safetensors": in_lm("model.safetensors"),
    "hf tokenizer": in_lm("tokenizer.json"),
    "hf config": in_lm("config.json"),
    "gguf": as_file("model.gguf", lambda file: HF(model=str(file)).build()),
    "run's weights": in_run("weights.safetensors"),
    "run's config": in_run("config.json"),
    "training.ckpt": training_checkpoint,
    "clipcap:path=": as_file("train.pkl", lambda file: ClipCapPickles(path=str(file)).build()),
    "stored features": as_file("f.safetensors", FeatureShard.read),
}
UNREAD = {
    "hf training_args.bin": in_lm("training_args.bin"),
    "hf optimizer.pt": in_lm("optimizer.pt"),
    "hf vocab.pkl": in_lm("vocab.pkl"),
    "run's training.ckpt": in_run("training.ckpt"),
    "run's .py": in_run("prefixcap.py"),
}


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("reader", READERS)
def test_no_pickle_is_run(
    reader: str, kind: str, tmp_path: Path, marker: Path, world: World, trained: Captioner
) -> None:
    with pytest.raises(PrefixcapError) as caught:
        READERS[reader](tmp_path, PICKLES[kind](marker), world, trained)
    assert "\n" not in str(caught.value)
    # torch's texts recommend switching its protection off
    assert "False" not in str(caught.value)


@pytest.mark.parametrize("reader", UNREAD)
def test_files_without_a_use_are_not_read(
    reader: str, tmp_path: Path, marker: Path, world: World, trained: Captioner
) -> None:
    UNREAD[reader](tmp_path, PICKLES["pickle"](marker), world, trained)


# -------------------------------------------------------------------------------------- TorchScript


@pytest.fixture(scope="module")
def clip_model() -> Any:
    return small_clip()


@pytest.fixture
def archive(clip_model: Any, tmp_path: Path, marker: Path) -> Path:
    """A CLIP in the format of OpenAI's files, whose code creates the marker."""
    save_torchscript(tmp_path / "archive.pt", marker, clip_model)
    return tmp_path / "archive.pt"


def run_that_names(archive: Path, trained: Captioner, **config: object) -> Path:
    """Save a run as somebody else may have written it."""
    run = trained.save(archive.parent / "run")
    encoder = {"name": "clip", "model": str(archive), "download_root": ""}
    return rewrite(run, encoder=encoder, **config)


def red(folder: Path) -> ImageItem:
    from PIL import Image

    Image.new("RGB", (40, 40), "red").save(folder / "red.png")
    return ImageItem(
        id="red", index=0, path=folder / "red.png", open=lambda: Image.open(folder / "red.png")
    )


def test_an_archive_is_live(archive: Path, marker: Path) -> None:
    torch.jit.load(archive)
    assert marker.exists()
    marker.unlink()


def test_no_torchscript_is_run(
    archive: Path, tmp_path: Path, world: World, trained: Captioner
) -> None:
    def as_bin() -> object:
        return in_lm("pytorch_model.bin")(tmp_path, archive.read_bytes(), world, trained)

    def captioned(**config: object) -> object:
        run = run_that_names(archive, trained, **config)
        return Captioner.load(run, device="cpu").caption(red(tmp_path))

    digest = sha256(archive.read_bytes()).hexdigest()
    sentence = r"archive\.pt: a TorchScript archive, which is code.* (--trust \S+archive\.pt|save)"
    for read in (
        CLIP(model=str(archive)).build,
        OpenCLIP(pretrained=str(archive)).build,
        Timm(model="test_vit", weights=str(archive)).build,
        lambda: import_checkpoint(archive, "mlp", 2),
        captioned,
        # a run cannot grant trust to itself
        lambda: captioned(trust=[str(archive)], trusted={digest: str(archive)}),
    ):
        with pytest.raises(PrefixcapError, match=sentence):
            read()
    shutil.copy(archive, tmp_path / "a.npy")

    def as_state() -> object:
        return training_checkpoint(tmp_path, archive.read_bytes())

    for read in (as_bin, as_state, lambda: FeatureFile(archive)):
        with pytest.raises(PrefixcapError):
            read()


@pytest.mark.parametrize(
    "words",
    [
        "bench --dataset jsonl:path={data} --lm hf:model={lm} --encoder clip:model={archive}",
        "train --dataset jsonl:path={data} --lm hf:model={lm} --encoder clip:model={archive}",
        "caption {image} --run {run}",
        "import-clipcap {archive} --mapping-type mlp --prefix-len 2",
        "check encoder clip:model={archive}",
        "caption --features {features} --run {run} "
        "--decoder best-of:by=clip,text=clip:model={archive}",
    ],
)
def test_the_shell_runs_no_torchscript(
    words: str,
    archive: Path,
    marker: Path,
    world: World,
    trained: Captioner,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    red(tmp_path)
    np.save(tmp_path / "features.npy", np.ones((1, 32), np.float32))
    places = {
        "data": world.data,
        "lm": world.lm,
        "archive": archive,
        "image": tmp_path / "red.png",
        "features": tmp_path / "features.npy",
        "run": run_that_names(archive, trained),
    }
    command = [word.format(**places) for word in words.split()]
    if command[0] in ("bench", "train", "import-clipcap"):
        command += ["--out", str(tmp_path / "out")]
    assert main(command) in (1, 2)
    assert not marker.exists()
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    if command[0] == "check":
        return
    assert "a TorchScript archive, which is code" in output.err
    other = tmp_path / "other"
    other.write_text("x")
    assert main([*command, "--trust", str(other)]) == 2
    assert not marker.exists()
    assert main([*command, "--trust", str(tmp_path / "nowhere")]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_the_user_may_trust_a_file(
    archive: Path, marker: Path, clip_model: Any, trained: Captioner, tmp_path: Path
) -> None:
    image, run = red(tmp_path), run_that_names(archive, trained, encoder_digest=None)
    assert prefixcap.trust(archive) == sha256(archive.read_bytes()).hexdigest()
    encoder = CLIP(model=str(archive)).build()
    assert marker.exists()
    torch.save(clip_model.state_dict(), tmp_path / "weights.pt")
    safe = CLIP(model=str(tmp_path / "weights.pt")).build()
    assert encoder.digest() == safe.digest()
    assert main(["caption", str(tmp_path / "red.png"), "--run", str(run)]) == 0
    marker.unlink()
    # trust is for the content, not for the path, and for this process only
    Captioner.load(run, device="cpu").caption(image)
    marker.unlink()
    save_torchscript(archive, marker, torch.nn.Linear(2, 2))
    with pytest.raises(PrefixcapError, match="a TorchScript archive"):
        CLIP(model=str(archive)).build()


def test_the_shell_takes_trust(
    archive: Path, marker: Path, trained: Captioner, tmp_path: Path
) -> None:
    red(tmp_path)
    run = run_that_names(archive, trained, encoder_digest=None)
    command = ["caption", str(tmp_path / "red.png"), "--run", str(run)]
    assert main([*command, "--trust", str(archive)]) == 0
    assert marker.exists()
    marker.unlink()
    again = Captioner.load(run, device="cpu").save(tmp_path / "again")
    config = json.loads((again / "config.json").read_text())
    assert config["encoder"] == {"name": "clip", "model": str(archive), "download_root": ""}
    assert "trust" not in json.dumps({**config, "encoder": {}, "lm": {}})


def test_openais_files_are_known_by_their_digest(
    archive: Path, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's table of URLs holds the digests; a folder stands for their server."""
    import clip

    digest = sha256(archive.read_bytes()).hexdigest()
    served = tmp_path / "server" / digest / "ViT-B-32.pt"
    served.parent.mkdir(parents=True)
    shutil.copy(archive, served)
    monkeypatch.setitem(clip.clip._MODELS, "ViT-B/32", served.as_uri())
    cached = tmp_path / "cache" / "ViT-B-32.pt"
    config = CLIP(download_root=str(cached.parent))
    first = config.build()
    for model in (config, CLIP(model=str(served))):  # again from the cache, and by digest alone
        marker.unlink()
        assert model.build().digest() == first.digest()
        assert marker.exists()
    marker.unlink()
    # a cached file with another content is not the model, whatever its name
    save_torchscript(cached, marker, torch.nn.Linear(2, 2))
    with pytest.warns(UserWarning, match="checksum does not match"):
        assert config.build().digest() == first.digest()  # downloaded again
    marker.unlink()
    save_torchscript(cached, marker, torch.nn.Linear(2, 2))
    served.unlink()
    with (
        pytest.warns(UserWarning, match="checksum does not match"),
        pytest.raises(PrefixcapError, match="could not be downloaded"),
    ):
        config.build()
    # neither is what the server sends
    save_torchscript(served, marker, torch.nn.Linear(2, 2))
    cached.unlink(missing_ok=True)
    with pytest.raises(PrefixcapError, match="checksum does not"):
        config.build()


# --------------------------------------------------------------------------------- Python of models

CODE = """
open({marker!r}, "w").write("run")
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
class MyConfig(GPT2Config): model_type = "mine"
class MyModel(GPT2LMHeadModel): config_class = MyConfig
class MyTokenizer(PreTrainedTokenizerFast): pass
def generate(model, **_): return model
"""
MODEL = {"AutoConfig": "code.MyConfig", "AutoModelForCausalLM": "code.MyModel"}
TOKENIZER = {"AutoTokenizer": ["code.MyTokenizer", None]}
FAST = {"AutoTokenizer": [None, "code.MyTokenizer"]}
ELSEWHERE = {"AutoTokenizer": ["somebody/else--code.MyTokenizer", None]}

# changes of a folder's JSON files, and a regular expression of the sentence; None if transformers'
# own class is used, with a warning
FOREIGN: dict[str, tuple[dict[str, dict[str, Any]], str | None]] = {
    "model": ({"config.json": {"auto_map": MODEL, "model_type": "mine"}}, "code.MyModel"),
    "model alone": (
        {
            "config.json": {
                "auto_map": {"AutoModelForCausalLM": "code.MyModel"},
                "model_type": "vit",
            }
        },
        "code.MyModel",
    ),
    "model that is known": ({"config.json": {"auto_map": MODEL}}, None),
    "model elsewhere": (
        {"config.json": {"auto_map": {"AutoConfig": "some/body--c.C"}, "model_type": "mine"}},
        "some/body--c.C",
    ),
    "kernel": ({"config.json": {"attn_implementation": "some/body"}}, "attention 'some/body'"),
    "kernel by part": (
        {"config.json": {"_attn_implementation": {"": "some/body"}}},
        "attention .*some/body",
    ),
    "tokenizer": ({"tokenizer_config.json": {"auto_map": TOKENIZER}}, None),
    "tokenizer, fast": (
        {"tokenizer_config.json": {"auto_map": FAST, "tokenizer_class": "MyTokenizer"}},
        None,
    ),
    "tokenizer, old form": (
        {"tokenizer_config.json": {"auto_map": ["code.MyTokenizer", None]}},
        None,
    ),
    "tokenizer elsewhere": ({"tokenizer_config.json": {"auto_map": ELSEWHERE}}, None),
    "both": (
        {
            "config.json": {"auto_map": MODEL, "model_type": "mine"},
            "tokenizer_config.json": {"auto_map": TOKENIZER, "tokenizer_class": "MyTokenizer"},
        },
        "code.MyModel, code.MyTokenizer",
    ),
    "generate": ({}, None),
}
HARMLESS: dict[str, dict[str, dict[str, Any]]] = {
    "processor": {"processor_config.json": {"auto_map": {"AutoProcessor": "code.MyTokenizer"}}},
    "image processor": {
        "preprocessor_config.json": {"auto_map": {"AutoImageProcessor": "code.MyTokenizer"}}
    },
    "generation config": {"generation_config.json": {"custom_generate": "FOLDER"}},
}


def with_code(world: World, folder: Path, marker: Path, changed: dict[str, dict[str, Any]]) -> Path:
    shutil.copytree(world.lm, folder / "lm")
    for file in ("code.py", "generate.py", "__init__.py"):
        (folder / "lm" / file).write_text(CODE.format(marker=str(marker)))
    for name, changes in changed.items():
        path = folder / "lm" / name
        data = json.loads(path.read_text()) if path.exists() else {}
        text = json.dumps({**data, **changes}).replace("FOLDER", str(folder / "lm"))
        path.write_text(text)
    return folder / "lm"


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("init", ["pretrained", "random"])
@pytest.mark.parametrize("case", FOREIGN)
def test_no_python_of_a_model_is_run(
    case: str, init: str, world: World, tmp_path: Path, marker: Path
) -> None:
    changes, sentence = FOREIGN[case]
    folder = with_code(world, tmp_path, marker, changes)
    if case == "generate":
        (folder / "custom_generate").mkdir()
        (folder / "generate.py").rename(folder / "custom_generate" / "generate.py")
    lm = HF(model=str(folder), init=init)
    if sentence is not None:
        with pytest.raises(PrefixcapError, match=rf"{sentence}.* prefixcap runs no code of models"):
            lm.build()
    else:
        with pytest.warns(UserWarning, match=r"(code\.My|generate\.py).* prefixcap does not run"):
            built = lm.build()
        assert prefixcap.decode(built, torch.zeros(1, 2, 16), "hf-generate", max_new_tokens=2)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("case", HARMLESS)
def test_code_without_a_use_is_not_run(
    case: str, world: World, tmp_path: Path, marker: Path
) -> None:
    lm = HF(model=str(with_code(world, tmp_path, marker, HARMLESS[case]))).build()
    assert prefixcap.decode(lm, torch.zeros(1, 2, 16), "hf-generate", max_new_tokens=2)


def test_code_beside_a_tokenizer_or_a_gguf_file_is_not_run(
    world: World, tmp_path: Path, marker: Path
) -> None:
    folder = with_code(world, tmp_path, marker, FOREIGN["both"][0])
    with pytest.raises(PrefixcapError, match=r"code\.MyTokenizer.* runs no code of models"):
        HF(model=str(world.lm), tokenizer=str(folder)).build()
    (folder / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(PrefixcapError):
        HF(model=str(folder / "model.gguf")).build()


def test_python_in_a_runs_folder_is_not_run(
    world: World, trained: Captioner, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained.save(tmp_path / "run")
    for name in ("sitecustomize", "prefixcap_mappers", "code", "conftest", "__init__"):
        (run / f"{name}.py").write_text(CODE.format(marker=str(marker)))
    monkeypatch.chdir(run)
    Captioner.load(".", device="cpu")
    np.save(tmp_path / "f.npy", np.zeros((1, 32), np.float32))
    assert main(["caption", "--features", str(tmp_path / "f.npy"), "--run", "."]) == 0
    for kind, name in (("lm", "code.MyModel"), ("mapper", "code:MyConfig"), ("encoder", "./x.py")):
        shutil.copytree(run, tmp_path / "other", dirs_exist_ok=True)
        with pytest.raises(PrefixcapError, match=f"no {kind} "):
            Captioner.load(rewrite(tmp_path / "other", **{kind: {"name": name}}), device="cpu")
