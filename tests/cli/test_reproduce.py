"""Published results as targets: the files, their commands, and verdicts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from prefixcap.cli import main
from prefixcap.cli.app import build_app
from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.stats import Estimate
from prefixcap.plugin.registry import default_registry
from prefixcap.publication.published.targets import (
    PublishedValue,
    Target,
    find,
    parse,
    published,
    read,
)
from prefixcap.publication.published.verdicts import compare_files, judge
from prefixcap.study.analysis.analyze import analyze
from prefixcap.study.analysis.reader import load_study
from prefixcap.study.definition import options

Shell = Callable[..., tuple[int, str, str]]
TARGETS = published()
PAPERS = Path(__file__).parents[2] / "docs" / "reproduce.md"


def test_the_first_targets_are_there() -> None:
    names = {"clipcap-mlp", "clipcap-transformer", "magic-coco", "smallcap"}
    names |= {"prefix-length-1", "prefix-length-10", "prefix-length-20"}
    assert names | {"capdec-coco", "decap-coco"} <= TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_on_its_page(name: str) -> None:
    target, text = TARGETS[name], PAPERS.read_text("utf-8")
    assert f"`{name}`" in text
    assert target.arxiv in text
    for value in target.values.values():
        assert value.text in text


@pytest.mark.parametrize("name", [name for name, each in TARGETS.items() if each.command])
def test_every_command_is_understood_by_the_command_line(name: str) -> None:
    target = TARGETS[name]
    program, *words = shlex.split(target.command)
    assert program == "prefixcap"
    shell = typer.main.get_command(build_app(words[0]))
    with shell.make_context("prefixcap", list(words)) as context:
        _, command, rest = shell.resolve_command(context, words)
        values = command.make_context("bench", rest).params
    assert str(values.pop("out")) == f"runs/{name}"
    given = {k: v for k, v in options.provided(values).items() if k in options.OPTIONS and v != ()}
    study = options.study(given, default_registry())
    assert study == target.study
    assert study.cells == 1


@pytest.mark.parametrize("name", TARGETS)
def test_every_score_is_one_of_its_metrics(name: str) -> None:
    from prefixcap.interfaces.metric import MetricConfig, scale_of
    from prefixcap.plugin import specs

    target = TARGETS[name]
    metrics = [
        default_registry().parse(MetricConfig, spec) for spec in specs.split_list(target.metrics)
    ]
    for score, value in target.values.items():
        scale = scale_of(metrics, score)
        assert scale.better == "higher"
        assert scale.low is not None
        assert scale.low < value.value < (scale.high or 10)


# Verdicts.

VALUES = st.decimals(0, 200, places=2)


@given(value=VALUES, low=VALUES, width=VALUES)
def test_a_value_is_inside_if_some_value_that_rounds_to_it_is(
    value: object, low: object, width: object
) -> None:
    one = PublishedValue.parse(str(value), 100, "here")
    bottom, top = float(str(low)) / 100, (float(str(low)) + float(str(width))) / 100
    verdict = judge("CIDEr", one, Estimate(value=bottom, low=bottom, high=top)).verdict
    unrounded = [one.value - one.rounding, one.value, one.value + one.rounding]
    if any(bottom + 1e-9 < each < top - 1e-9 for each in unrounded):
        assert verdict == "inside"
    if unrounded[2] < bottom - 1e-9 or unrounded[0] > top + 1e-9:
        assert verdict == "outside"


@pytest.mark.parametrize(
    ("text", "low", "high", "verdict", "reason"),
    [
        ("49.3", 0.479, 0.506, "inside", ""),
        ("49.3", 0.4934, 0.5, "inside", ""),
        ("49.3", 0.4936, 0.5, "outside", "the published score is 0.0006 below the interval"),
        ("49.30", 0.4934, 0.5, "outside", "the published score is 0.0004 below the interval"),
        ("49.3", 0.4, 0.49, "outside", "the published score is 0.003 above the interval"),
        ("49", 0.4, 0.49, "inside", ""),
    ],
)
def test_rounding_counts(text: str, low: float, high: float, verdict: str, reason: str) -> None:
    value = PublishedValue.parse(text, 100, "here")
    found = judge("CIDEr", value, Estimate(value=low, low=low, high=high))
    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_score_without_an_interval_is_not_comparable() -> None:
    value = PublishedValue.parse("1", 1, "here")
    found = judge("CIDEr", value, Estimate(value=1.0))
    assert (found.verdict, found.reason) == (
        "not comparable",
        "because the score has no interval",
    )
    assert judge("CIDEr", value, None, "it rains").reason == "because it rains"


# Files of predictions.


def test_the_predictions_of_magic_agree_with_the_paper(shared: Path) -> None:
    """BLEU and CIDEr: the intervals of METEOR and ROUGE-L take as long again."""
    target = TARGETS["magic-coco"]
    values = {n: value for n, value in target.values.items() if n not in ("METEOR", "ROUGE_L")}
    target = attrs.evolve(target, values=values, metrics="bleu,cider")
    result = compare_files(target, [shared / "data" / "coco_eval" / "magic_coco.jsonl"])
    assert result.agrees
    assert [each.verdict for each in result.verdicts] == ["inside"] * 5
    assert "There are 4,982 images, and the published scores are over 5,000." in result.notes
    assert result.images == 4982


def write_predictions(path: Path, texts: list[str]) -> Path:
    lines = (
        {"image": f"{n}", "references": ["A red ball.", "A ball in red."], "prediction": text}
        for n, text in enumerate(texts)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_target(path: Path, text: str) -> Path:
    path.write_text(f'paper = "Ours"\n{text}')
    return path


def test_files_of_several_seeds_are_one_row(tmp_path: Path, shell: Shell) -> None:
    one = write_predictions(tmp_path / "one.jsonl", ["A ball."] * 10)
    two = write_predictions(tmp_path / "two.jsonl", ["A red ball on a table."] * 10)
    target = write_target(
        tmp_path / "t.toml", 'metrics = "length"\n[target.x]\nvalues = {Length = "3.1"}'
    )
    words = ("reproduce", "x", "--target", target, "--json")
    status, out, _ = shell(*words, "--predictions", one)
    (verdict,) = json.loads(out)["verdicts"]
    assert (status, verdict["verdict"]) == (1, "outside")
    assert verdict["own"] == {"value": 2.0, "low": 2.0, "high": 2.0}
    status, out, _ = shell(*words, "--predictions", one, "--predictions", two)
    result = json.loads(out)
    (verdict,) = result["verdicts"]
    assert (status, verdict["verdict"], result["seeds"]) == (0, "inside", 2)
    assert verdict["own"]["value"] == 4.0
    assert verdict["own"]["low"] < 3.1 < 4.9 < verdict["own"]["high"]


def test_too_few_images_are_not_comparable(tmp_path: Path, shell: Shell) -> None:
    one = write_predictions(tmp_path / "one.jsonl", ["A ball."] * 10)
    target = write_target(
        tmp_path / "t.toml",
        'metrics = "length"\nimages = 11\n[target.x]\nvalues = {Length = "2.0"}',
    )
    status, out, _ = shell("reproduce", "x", "--target", target, "--predictions", one)
    assert status == 1
    reason = "because there are 10 images, and the published scores are over 11"
    assert f"Length  2.0        2 [2, 2]  not comparable {reason}\n" in out


def test_a_metric_that_cannot_run_leaves_its_score_out(tmp_path: Path) -> None:
    one = write_predictions(tmp_path / "one.jsonl", ["A ball."] * 10)
    data = {
        "paper": "Ours",
        "metrics": "length,spice",
        "target": {"x": {"values": {"Length": "2", "SPICE": "20.1"}}},
    }
    result = compare_files(parse(data, "here")["x"], [one])
    first, second = result.verdicts
    assert (first.verdict, second.verdict) == ("inside", "not comparable")
    assert second.reason == "because length,spice gives no SPICE here"
    assert any(note.startswith("spice was not computed: spice needs") for note in result.notes)
    assert result.agrees


def test_files_of_other_images_are_refused(tmp_path: Path) -> None:
    one = write_predictions(tmp_path / "one.jsonl", ["A ball."] * 10)
    two = write_predictions(tmp_path / "two.jsonl", ["A ball."] * 9)
    target = attrs.evolve(TARGETS["magic-coco"], metrics="length")
    with pytest.raises(PrefixcapError, match=r"two\.jsonl has not the images of the first file"):
        compare_files(target, [one, two])


# Studies.

MADE_UP = """
images = 6
[study]
dataset = "scenes"
limit = 6
mapper = "linear"
prefix_len = 2
epochs = 1
decoder = "greedy"
max_new_tokens = 6
metrics = "length,distinct"
[target.made-up]
values = {Length = "LENGTH", Distinct_1 = "0.5"}
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a made-up target, run by its command, with another decoder beside it."""
    folder = tmp_path_factory.mktemp("scenes")
    target = read(write_target(folder / "t.toml", MADE_UP.replace("LENGTH", "1")))["made-up"]
    _, *words = shlex.split(target.command)
    words[words.index("--out") + 1] = str(folder / "study")
    assert main([*words, "--decoder", "top-p"]) == 0
    return folder / "study"


def made_up(folder: Path, text: str) -> Path:
    return write_target(folder / "t.toml", text)


def test_a_made_up_target_is_compared_with_its_row(
    scenes: Path, tmp_path: Path, shell: Shell
) -> None:
    analysis = analyze(load_study(scenes))
    row = next(entry for entry in analysis.entries if entry.fields.get("decoder") == "greedy")
    length = f"{row.scores['Length']:.1f}"
    path = made_up(tmp_path, MADE_UP.replace("LENGTH", length))
    status, out, _ = shell("reproduce", "--target", path, "--study", scenes, "--json")
    result = json.loads(out)
    first, second = result["verdicts"]
    assert (status, result["agrees"]) == (0, True)
    assert (first["verdict"], first["own"]["value"]) == ("inside", row.scores["Length"])
    assert first["own"]["low"] == row.intervals["Length"][0]
    assert (second["verdict"], second["reason"]) == (
        "not comparable",
        "because the score has no interval",
    )
    assert result["of"] == f"{scenes}, {row.label}"


def test_a_value_outside_the_interval_ends_with_status_1(
    scenes: Path, tmp_path: Path, shell: Shell
) -> None:
    path = made_up(tmp_path, MADE_UP.replace("LENGTH", "99.5"))
    status, out, _ = shell("reproduce", "made-up", "--target", path, "--study", scenes)
    assert status == 1
    assert "outside the published score is" in out
    assert "One training: another seed may differ" in out
    assert out.endswith("1 outside, 1 not comparable\n")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('dataset = "scenes"', 'dataset = "coco:path=x"', "the data set is 'scenes', not 'coco'"),
        ('"scenes"', '"scenes:seed=3"', "dataset.seed is 0, not 3"),
        ("limit = 6", "limit = 7", "limit is 6, not 7"),
        ("images = 6", "images = 8", "there are 6 images, and the published scores are over 8"),
        ("epochs = 1", "epochs = 2", "training.epochs is 1, not 2"),
        ("max_new_tokens = 6", "max_new_tokens = 7", "max_new_tokens is 6, not 7"),
        ('"linear"', '"mlp"', "mapper is 'linear', not 'mlp'"),
        ("prefix_len = 2", "prefix_len = 3", "prefix_length is '2', not '3'"),
        ('"greedy"', '"beam:num_beams=3"', "decoder is 'greedy', not 'beam:num_beams=3'"),
    ],
)
def test_other_settings_are_not_comparable(
    scenes: Path, tmp_path: Path, shell: Shell, old: str, new: str, reason: str
) -> None:
    assert old in MADE_UP
    path = made_up(tmp_path, MADE_UP.replace("LENGTH", "5").replace(old, new))
    status, out, _ = shell("reproduce", "--target", path, "--study", scenes, "--json")
    assert status == 1
    found = json.loads(out)["verdicts"][0]
    assert found["verdict"] == "not comparable"
    assert found["reason"].startswith(f"because {reason}")
    # the components that COCO recommends are others too
    assert (found["reason"] == f"because {reason}") == ("coco" not in new)
    assert found["own"] is not None


def test_a_score_that_the_study_lacks_says_how_to_get_it(
    scenes: Path, tmp_path: Path, shell: Shell
) -> None:
    text = MADE_UP.replace('LENGTH"', '5", CIDEr = "1"').replace(
        "[study]", 'metrics = "cider"\n[study]'
    )
    path = made_up(tmp_path, text)
    _, out, _ = shell("reproduce", "--target", path, "--study", scenes, "--json")
    reasons = {each["score"]: each["reason"] for each in json.loads(out)["verdicts"]}
    assert reasons["CIDEr"] == "because the study has no CIDEr: run it again with --metrics cider"


def test_copies_of_weights_elsewhere_are_a_note(scenes: Path, tmp_path: Path, shell: Shell) -> None:
    text = MADE_UP.replace("LENGTH", "5").replace("[study]", '[study]\nlm = "hf:model=gpt2"')
    _, out, _ = shell("reproduce", "--target", made_up(tmp_path, text), "--study", scenes, "--json")
    assert "lm is 'scenes-gpt2', not 'hf'" in json.loads(out)["verdicts"][0]["reason"]


# The command.


def test_targets_are_listed_and_shown(shell: Shell) -> None:
    status, out, _ = shell("reproduce")
    assert status == 0
    assert "arXiv:2111.09734" in out
    assert "Bleu_4 32.15, METEOR 27.1, CIDEr 108.35, SPICE 20.12" in out
    status, out, _ = shell("reproduce", "clipcap-mlp")
    assert status == 0
    assert TARGETS["clipcap-mlp"].command in out
    assert "needs: dataset coco:path=coco; encoder clip:model=ViT-B/32; lm hf:model=gpt2" in out
    _, out, _ = shell("reproduce", "--json")
    assert json.loads(out)["smallcap"]["values"]["CIDEr"] == {
        "text": "119.7",
        "value": pytest.approx(1.197),
        "rounding": pytest.approx(0.0005),
    }
    _, out, _ = shell("reproduce", "smallcap", "--json")
    assert json.loads(out)["arxiv"] == "2209.15323"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["clipcap"], "no published result 'clipcap'; did you mean 'clipcap-mlp'? known: "),
        (["--study", "x"], "--study needs the name of a result"),
        (
            ["smallcap", "--study", "x", "--predictions", "y"],
            "--study and --predictions cannot be compared together",
        ),
        (["smallcap", "--references", "x"], "--references and --common are for --predictions"),
        (["smallcap", "--study", "nowhere"], "nowhere: there is no such folder"),
        (["--target", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_wrong_words_are_sentences(shell: Shell, words: list[str], text: str) -> None:
    status, _, err = shell("reproduce", *words)
    assert status == 2
    assert text in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no 'target'"),
        ("[target]", "it has no targets"),
        ("[target.x]", "'target', 'x' has no 'values'"),
        ('[target.x]\nvalues = {}\nmetrics = "cider"', "it needs values, metrics, and a scale"),
        ('[target.x]\nvalues = {CIDEr = "1"}', "it needs values, metrics, and a scale above 0"),
        (
            '[target.x]\nvalues = {CIDEr = "a"}\nmetrics = "cider"',
            "CIDEr: 'a' is no decimal number",
        ),
        ('[target.x]\nvalues = {CIDEr = "nan"}\nmetrics = "cider"', "is no decimal number"),
        ('[target.x]\nvalues = {CIDEr = 1}\nmetrics = "cider"', "'CIDEr' is 1"),
        ('[target."a b"]\nvalues = {CIDEr = "1"}\nmetrics = "cider"', "a name has small letters"),
        ('[target.x]\nvalue = 1\nvalues = {CIDEr = "1"}\nmetrics = "cider"', "no key 'value'"),
        ('colour = 1\n[target.x]\nvalues = {CIDEr = "1"}\nmetrics = "cider"', "no key 'colour'"),
        (
            '[target.x]\nvalues = {CIDEr = "1"}\nmetrics = "cider"\nstudy = {decoders = "beam"}',
            "study: no key 'decoders'; did you mean 'decoder'?",
        ),
    ],
)
def test_a_broken_file_is_a_sentence(tmp_path: Path, shell: Shell, text: str, message: str) -> None:
    path = write_target(tmp_path / "t.toml", text)
    status, _, err = shell("reproduce", "--target", path)
    assert status == 2
    assert str(path) in err
    assert message in err


def test_an_unknown_component_names_the_target(tmp_path: Path) -> None:
    path = made_up(tmp_path, MADE_UP.replace('"greedy"', '"gredy"').replace("LENGTH", "1"))
    target: Target = find("made-up", read(path))
    with pytest.raises(PrefixcapError, match=r"the target 'made-up': .*'gredy'"):
        _ = target.study
