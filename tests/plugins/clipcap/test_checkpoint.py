"""ClipCap's checkpoints: conversion, and the errors when something does not fit."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from prefixcap_clipcap.convert import import_checkpoint
from torch import Tensor, nn

from prefixcap.captioning.captioner import Captioner
from prefixcap.cli import main
from prefixcap.errors import PrefixcapError
from prefixcap.plugin.specs import to_json

D, E, P, C, LAYERS = 6, 16, 3, 2, 2

Weights = dict[str, Tensor]


def linear(outputs: int, inputs: int, name: str, *, bias: bool = True) -> Weights:
    layer = nn.Linear(inputs, outputs, bias=bias)
    return {f"{name}.{key}": tensor for key, tensor in layer.state_dict().items()}


def mlp() -> Weights:
    return linear(E * P // 2, D, "clip_project.model.0") | linear(
        E * P, E * P // 2, "clip_project.model.2"
    )


def transformer() -> Weights:
    weights = {"clip_project.prefix_const": torch.randn(P, E)}
    weights |= linear(C * E, D, "clip_project.linear")
    for number in range(LAYERS):
        layer = f"clip_project.transformer.layers.{number}"
        weights |= {
            f"{layer}.{norm}.{part}": torch.rand(E)
            for norm in ("norm1", "norm2")
            for part in ("weight", "bias")
        }
        weights |= linear(E, E, f"{layer}.attn.to_queries", bias=False)
        weights |= linear(2 * E, E, f"{layer}.attn.to_keys_values", bias=False)
        weights |= linear(E, E, f"{layer}.attn.project")
        weights |= linear(2 * E, E, f"{layer}.mlp.fc1") | linear(E, 2 * E, f"{layer}.mlp.fc2")
    return weights


MAPPERS: dict[str, Callable[[], Weights]] = {"mlp": mlp, "transformer": transformer}


def plain_mlp(weights: Weights, features: Tensor) -> Tensor:
    w = {name.removeprefix("clip_project.model."): t for name, t in weights.items()}
    hidden = (features @ w["0.weight"].T + w["0.bias"]).tanh()
    return (hidden @ w["2.weight"].T + w["2.bias"]).view(-1, P, E)


def plain_transformer(weights: Weights, features: Tensor, heads: int = 8) -> Tensor:
    """ClipCap's transformer mapper, head by head and image by image."""
    w = {name.removeprefix("clip_project."): t for name, t in weights.items()}
    result = []
    for feature in features:
        tokens = (w["linear.weight"] @ feature + w["linear.bias"]).view(C, E)
        x = torch.cat([tokens, w["prefix_const"]])
        for number in range(LAYERS):
            v = {n.split(f"layers.{number}.")[-1]: t for n, t in w.items() if f"s.{number}." in n}
            y = nn.functional.layer_norm(x, (E,), v["norm1.weight"], v["norm1.bias"])
            q = y @ v["attn.to_queries.weight"].T
            k, u = (y @ v["attn.to_keys_values.weight"].T).split(E, -1)
            size = E // heads
            parts = []
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                weight = (q[:, own] @ k[:, own].T / size**0.5).softmax(-1)
                parts.append(weight @ u[:, own])
            x = x + torch.cat(parts, -1) @ v["attn.project.weight"].T + v["attn.project.bias"]
            y = nn.functional.layer_norm(x, (E,), v["norm2.weight"], v["norm2.bias"])
            y = (y @ v["mlp.fc1.weight"].T + v["mlp.fc1.bias"]).relu()
            x = x + y @ v["mlp.fc2.weight"].T + v["mlp.fc2.bias"]
        result.append(x[C:])
    return torch.stack(result)


PLAIN = {"mlp": plain_mlp, "transformer": plain_transformer}


def gpt2(**changes: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 257, "n_embd": E, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(**{**sizes, **changes}, bos_token_id=256, eos_token_id=256))


def write_tokenizer(folder: Path) -> None:
    """A GPT-2 tokenizer without merges: one token per byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]
    vocab = {letter: number for number, letter in enumerate([*letters, "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n")


@pytest.fixture(scope="module")
def lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm")
    torch.manual_seed(0)
    gpt2().save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[object], Path]:
    def save(content: object) -> Path:
        torch.save(content, tmp_path / "model.pt")
        return tmp_path / "model.pt"

    return save


def whole(mapper: Weights) -> Weights:
    weights = {f"gpt.{name}": tensor for name, tensor in gpt2().state_dict().items()}
    # as older versions of transformers wrote them
    masks = {
        "gpt.transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.uint8),
        "gpt.transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
    }
    return {**weights, **masks, **mapper}


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
@pytest.mark.parametrize("flavour", ["whole", "mapper alone"])
def test_an_imported_run_computes_the_checkpoints_prefixes(
    kind: str, flavour: str, lm_folder: Path, saved: Callable[[object], Path], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    mapper = MAPPERS[kind]()
    weights = whole(mapper) if flavour == "whole" else mapper
    path = saved(weights)
    options = ["--mapping-type", kind, "--prefix-len", str(P), "--normalize-prefix"]
    options += ["--feature-scale", "3", "--lm", str(lm_folder), "--out", str(tmp_path / "run")]
    assert main(["import-clipcap", str(path), *options]) == 0
    captioner = Captioner.load(tmp_path / "run", device="cpu")

    features = torch.randn(4, D)
    scaled = features / features.norm(dim=-1, keepdim=True) * 3
    torch.testing.assert_close(captioner.prefixes(features), PLAIN[kind](mapper, scaled))

    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(lm_folder)
    if flavour == "whole":
        model.load_state_dict({n[4:]: t for n, t in weights.items() if n[:4] == "gpt."}, False)
    ids = torch.randint(0, 256, (4, 5))
    prefix = captioner.prefixes(features)
    inputs = torch.cat([prefix, model.get_input_embeddings()(ids)], 1)
    with torch.no_grad():
        wanted = model.eval()(inputs_embeds=inputs).logits[:, P - 1 : -1]
        result = captioner.lm.teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool))
    torch.testing.assert_close(result, wanted)


def test_captions_end_at_the_full_stop_which_is_shown(
    lm_folder: Path, saved: Callable[[object], Path]
) -> None:
    captioner = import_checkpoint(saved(whole(mlp())), "mlp", P, lm=str(lm_folder))
    assert captioner.stop_ids == tuple(captioner.lm.tokenizer.encode("."))
    assert captioner.stop_visible


@pytest.mark.parametrize(
    ("width", "options", "encoder"),
    [
        (512, {}, {"name": "clip", "model": "ViT-B/32"}),
        (
            640,
            {"normalize_prefix": True, "feature_scale": 2.0},
            {"name": "clip", "model": "RN50x4"},
        ),
        (512, {"feature_scale": 10.0}, None),
        (D, {}, None),
    ],
)
def test_the_encoder_is_named_where_it_can_be_known(
    width: int,
    options: dict[str, Any],
    encoder: dict[str, str] | None,
    lm_folder: Path,
    saved: Callable[[object], Path],
) -> None:
    mapper = {**mlp(), **linear(E * P // 2, width, "clip_project.model.0")}
    captioner = import_checkpoint(saved(mapper), "mlp", P, lm=str(lm_folder), **options)
    result = captioner.encoder_config
    assert (
        None if result is None else {k: to_json(result)[k] for k in ("name", "model")}
    ) == encoder


def test_importing_leaves_the_global_random_state(
    lm_folder: Path, saved: Callable[[object], Path]
) -> None:
    path = saved(whole(mlp()))
    before = torch.random.get_rng_state()
    import_checkpoint(path, "mlp", P, lm=str(lm_folder))
    assert torch.equal(before, torch.random.get_rng_state())


def without(weights: Weights, name: str) -> Weights:
    return {key: tensor for key, tensor in weights.items() if key != name}


def changed(weights: Weights, name: str, tensor: Tensor) -> Weights:
    assert name in weights
    return {**weights, name: tensor}


LAYER = "clip_project.transformer.layers.1"

WRONG: dict[str, tuple[Callable[[], object], dict[str, Any], str]] = {
    "the other mapper": (
        mlp,
        {"mapping_type": "transformer"},
        "--mapping-type transformer does not fit: its mapper is of the type mlp; "
        "use --mapping-type mlp",
    ),
    "an unknown mapper": (
        mlp,
        {"mapping_type": "transformr"},
        "--mapping-type 'transformr' is not known; did you mean 'transformer'? "
        "known: mlp, transformer",
    ),
    "another prefix length": (
        lambda: whole(mlp()),
        {"prefix_length": 10},
        "--prefix-len 10 does not fit its shapes; use --prefix-len 3",
    ),
    "another clip length": (
        lambda: whole(transformer()),
        {"mapping_type": "transformer", "clip_length": 10},
        "--clip-length 10 does not fit its shapes; use --clip-length 2",
    ),
    "another number of layers": (
        transformer,
        {"mapping_type": "transformer", "num_layers": 8},
        "--num-layers 8 does not fit its shapes; use --num-layers 2",
    ),
    "a missing key": (
        lambda: without(mlp(), "clip_project.model.2.bias"),
        {},
        "its mapper lacks clip_project.model.2.bias",
    ),
    "a missing key of a layer": (
        lambda: without(transformer(), f"{LAYER}.mlp.fc2.weight"),
        {"mapping_type": "transformer"},
        f"its mapper lacks {LAYER}.mlp.fc2.weight",
    ),
    "a layer far from the others": (
        lambda: {**transformer(), f"{LAYER}000000.norm1.bias": torch.ones(E)},
        {"mapping_type": "transformer"},
        f"its mapper has an unknown {LAYER}000000.norm1.bias",
    ),
    "an unknown key": (
        lambda: {**mlp(), "clip_project.model.4.bias": torch.ones(3)},
        {},
        "its mapper has an unknown clip_project.model.4.bias",
    ),
    "shapes that contradict each other": (
        lambda: changed(mlp(), "clip_project.model.2.bias", torch.ones(7)),
        {},
        "clip_project.model.2.bias has shape (7,), but the other weights require (48,)",
    ),
    "a layer of another width": (
        lambda: changed(transformer(), f"{LAYER}.norm1.weight", torch.ones(8)),
        {"mapping_type": "transformer"},
        f"{LAYER}.norm1.weight has shape (8,), but the other weights require (16,)",
    ),
    "a mapper for another width": (
        lambda: linear(25, D, "clip_project.model.0") | linear(50, 25, "clip_project.model.2"),
        {},
        "clip_project.model.2.weight has 50 rows, which is not a multiple of the embedding width "
        "16: it belongs to another language model (--lm)",
    ),
    "parts of two models": (
        lambda: changed(whole(transformer()), "gpt.transformer.wte.weight", torch.ones(257, 2 * E)),
        {"mapping_type": "transformer"},
        "its parts do not fit each other: gpt.transformer.wte.weight is 32 wide but "
        "clip_project.prefix_const is 16 wide",
    ),
    "an untied output layer": (
        lambda: changed(whole(mlp()), "gpt.lm_head.weight", torch.ones(257, E)),
        {},
        "gpt.lm_head.weight differs from gpt.transformer.wte.weight, but GPT-2 ties them",
    ),
    "a weight of the language model missing": (
        lambda: without(whole(mlp()), "gpt.transformer.ln_f.bias"),
        {},
        "transformer.ln_f.bias is absent instead of (16,)",
    ),
    "something else's weights": (
        lambda: {"visual.conv1.weight": torch.ones(2)},
        {},
        "not a checkpoint of ClipCap: no name begins with 'clip_project.'; "
        "it has visual.conv1.weight",
    ),
    "something else beside it": (
        lambda: {**mlp(), "optimizer.step": torch.ones(1)},
        {},
        "not a checkpoint of ClipCap: besides 'clip_project.' and 'gpt.' it has 'optimizer.step'",
    ),
    "a single linear layer": (
        lambda: linear(E * P, D, "clip_project"),
        {},
        "its clip_project is neither ClipCap's MLP nor its transformer; it has weight, bias",
    ),
    "a number instead of weights": (
        lambda: changed(whole(mlp()), "gpt.transformer.wte.weight", torch.tensor(1.0)),
        {},
        "gpt.transformer.wte.weight has shape (): no weights",
    ),
    "a list": (lambda: [torch.ones(2)], {}, "not a state_dict of tensors by name, but a list"),
    "numbers that are not finite": (
        lambda: changed(mlp(), "clip_project.model.0.bias", torch.full((24,), torch.nan)),
        {},
        "clip_project.model.0.bias contains infinite numbers or NaN",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mismatches_are_errors(case: str, lm_folder: Path, saved: Callable[[object], Path]) -> None:
    content, options, sentence = WRONG[case]
    path = saved(content())
    arguments: dict[str, Any] = {"mapping_type": "mlp", "prefix_length": P, **options}
    with pytest.raises(PrefixcapError) as error:
        import_checkpoint(path, **arguments, lm=str(lm_folder))
    assert sentence in str(error.value)
    if case != "an unknown mapper":
        assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"n_layer": 3}, "(2 layers, 257 tokens, 64 positions) is not that of --lm"),
        ({"vocab_size": 300}, "transformer.wte.weight is (257, 16) instead of (300, 16)"),
        ({"n_positions": 32}, "transformer.wpe.weight is (64, 16) instead of (32, 16)"),
        ({"n_embd": 24}, "its prefixes are 16 wide, and the language model of --lm"),
    ],
)
def test_another_language_model_is_an_error(
    sizes: dict[str, int], sentence: str, saved: Callable[[object], Path], tmp_path: Path
) -> None:
    gpt2(**sizes).config.save_pretrained(tmp_path / "lm")
    write_tokenizer(tmp_path / "lm")
    with pytest.raises(PrefixcapError) as error:
        import_checkpoint(saved(whole(mlp())), "mlp", P, lm=str(tmp_path / "lm"))
    assert sentence in str(error.value)


SHAPES = st.lists(st.integers(0, 20), max_size=3)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(["mlp", "transformer"]),
    alone=st.booleans(),
    number=st.integers(0, 10**6),
    change=st.one_of(st.just("drop"), st.just("rename"), SHAPES),
)
def test_any_change_of_any_weight_ends_in_a_sentence(
    kind: str, alone: bool, number: int, change: str | list[int], lm_folder: Path, tmp_path: Path
) -> None:
    weights = MAPPERS[kind]() if alone else whole(MAPPERS[kind]())
    name = sorted(weights)[number % len(weights)]
    shape = list(weights[name].shape)
    # valid changes: of a causal mask, which is ignored; of the features' width; and the lack of the
    # output layer, which is the embedding
    assume((name, change) != ("gpt.lm_head.weight", "drop"))
    widened = name.endswith(("model.0.weight", "linear.weight")) and change[:1] == shape[:1]
    assume(not re.search(r"masked_bias|attn\.bias", name) and change != shape)
    assume(not (widened and len(change) == 2 and change[1]))
    tensor = weights.pop(name)
    if change == "rename":
        weights[f"{name}x"] = tensor
    elif change != "drop":
        weights[name] = torch.zeros(change)
    torch.save(weights, tmp_path / "changed.pt")
    with pytest.raises(PrefixcapError, match=r"changed\.pt"):
        import_checkpoint(tmp_path / "changed.pt", kind, P, lm=str(lm_folder))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


def test_nothing_in_a_file_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps({"clip_project.model.0.weight": Bomb()}, 2))
    torch.save({"clip_project.model.0.weight": Bomb()}, tmp_path / "bomb2.pt")
    for name in ("bomb.pt", "bomb2.pt"):
        words = ["import-clipcap", name, "--mapping-type", "mlp", "--prefix-length", "10"]
        assert main([*words, "--out", "run"]) == 2
        assert f"{name}: not read, because it holds " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bomb.pt", "bomb2.pt"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.pt"], "nowhere.pt does not exist; give ClipCap's .pt checkpoint"),
        (["text.pt"], "text.pt: not read as weights only: "),
        (["empty.pt"], "empty.pt: not read as weights only: "),
        (["text.pt", "--feature-scale", "0"], "--feature-scale must be greater than 0, not 0.0"),
        (["text.pt", "--out", "full"], "--out full already exists"),
        (["text.pt", "--normalise-prefix"], "did you mean '--normalize-prefix'?"),
    ],
)
def test_bad_input_ends_with_a_sentence_and_status_2(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.pt").write_text("not weights")
    Path("empty.pt").touch()
    Path("full").mkdir()
    Path("full/config.json").touch()
    out = [] if "--out" in words else ["--out", "run"]
    mapper = ["--mapping-type", "mlp", "--prefix-length", "10"]
    assert main(["import-clipcap", *words, *mapper, *out]) == 2
    output = capsys.readouterr()
    assert sentence in output.err
    assert output.err.count("\n") == 1
    assert not output.out
    assert not Path("run").exists()
