from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Shell = Callable[..., tuple[int, str, str]]
GOOD = {"image": "1", "references": ["a cat sits", "the cat"], "prediction": "a cat"}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def test_scores_as_one_object(shell: Shell, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", GOOD, {**GOOD, "image": 2, "prediction": "a dog runs off"})
    status, out, _ = shell("eval", file, "--metrics", "length,distinct:max_n=1", "--json")
    assert status == 0
    result = json.loads(out)
    assert result["Length"] == 3.0
    assert result["Distinct_captions"] == 1.0
    _, out, _ = shell("eval", file, "--metrics", "length")
    assert out.splitlines()[0].split() == ["Length", "3.0000"]


def test_the_four_metrics_by_their_names(shell: Shell, shared: Path) -> None:
    file = shared / "data" / "coco_eval" / "fakecap_val2014.jsonl"
    golden = json.loads((file.parent / "golden.json").read_text())["fakecap_val2014"]
    status, out, _ = shell("eval", file, "--json", "--metrics", "bleu,meteor,rouge,cider")
    assert status == 0
    result = json.loads(out)
    names = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr"]
    assert list(result) == names
    assert result == pytest.approx({name: golden[name] for name in names}, abs=1e-6)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('{"image": 1', "line 2: not JSON ("),
        ("[]", "line 2: expected a JSON object with 'image', 'references', 'prediction'"),
        (
            {"image": "1", "references": ["a"], "predicton": "b"},
            "line 2: no key 'prediction'; did you mean 'predicton'? known: ",
        ),
        ({**GOOD, "prediction": None}, "line 2: 'prediction' must be a text, not None"),
        (
            {**GOOD, "references": []},
            "line 2: 'references' must be a list of at least one text, not []",
        ),
        (
            {**GOOD, "references": "a cat"},
            "line 2: 'references' must be a list of at least one text, not 'a cat'",
        ),
        ({**GOOD, "image": [1]}, "line 2: 'image' must be a text, not [1]"),
        ({**GOOD, "image": "0"}, "line 2: the image '0' already appears in line 1"),
        (
            {**GOOD, "captions": []},
            "line 2: 'captions' must be a list of at least one text, not []",
        ),
        ({**GOOD, "captions": [{"txt": "a"}]}, "line 2: 'captions' must be a list of at least one"),
    ],
)
def test_a_broken_line_is_named(shell: Shell, tmp_path: Path, row: object, sentence: str) -> None:
    file = write(tmp_path / "p.jsonl", {**GOOD, "image": "0"}, row)
    status, out, err = shell("eval", file, "--metrics", "length")
    assert (status, out) == (2, "")
    assert err.startswith(f"prefixcap: {file}, {sentence}")


def test_an_empty_file(shell: Shell, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl")
    status, _, err = shell("eval", file)
    assert status == 2
    assert err.startswith(f"prefixcap: {file} is empty: ")


def test_several_captions_with_a_decoders_numbers(shell: Shell, tmp_path: Path) -> None:
    decoded = [
        {"text": "a cat", "logprob": -4.0, "tokens": 2, "finish": "stop"},
        {"text": "a dog", "logprob": -6.0, "tokens": 3, "finish": "length"},
    ]
    rows = [
        {"image": "1", "references": ["a cat"], "captions": decoded},
        {"image": "2", "references": ["a dog"], "captions": decoded[::-1]},
    ]
    file = write(tmp_path / "p.jsonl", *rows)
    _, out, _ = shell("eval", file, "--metrics", "logprob,finish,diversity", "--json")
    result = json.loads(out)
    assert result["Logprob"] == -5.0
    assert result["Logprob_per_token"] == -2.0
    assert result["eos_rate"] == 0.5
    assert result["Div_1"] == 0.75
    texts = [{**row, "captions": ["a cat", "a cat sits"]} for row in rows]
    file = write(tmp_path / "t.jsonl", *texts)
    _, out, _ = shell("eval", file, "--metrics", "diversity:max_n=1", "--json")
    assert json.loads(out)["Div_1"] == 3 / 5


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        (
            "clipscore",
            "needs the images, but there are only captions of '1': score them with bench",
        ),
        ("logprob", "needs the decoder's log-probabilities, token counts and finish reasons"),
        ("diversity", "needs at least two captions per image, but '1' has 1"),
        ("oracle", "needs at least two captions per image, but '1' has 1"),
    ],
)
def test_a_requirement_that_a_file_lacks_is_named(
    shell: Shell, tmp_path: Path, metric: str, sentence: str
) -> None:
    status, out, err = shell("eval", write(tmp_path / "p.jsonl", GOOD), "--metrics", metric)
    assert (status, out) == (2, "")
    assert f"the metric '{metric}' {sentence}" in err


def test_a_split_of_the_references_and_images_in_common(shell: Shell, tmp_path: Path) -> None:
    human = write(
        tmp_path / "r.jsonl",
        {"image": "1.jpg", "captions": ["a cat"], "split": "test"},
        {"image": "2.jpg", "captions": ["two dogs"], "split": "train"},
    )
    # as `caption --json` prints it, with the path as typed
    file = write(tmp_path / "p.jsonl", {"image": "x/1.jpg", "captions": [{"text": "a cat sits"}]})
    words = ["eval", file, "--references", human, "--metrics", "length", "--json"]
    assert "no prediction for 1 of the 2 images" in shell(*words)[2]
    for more in (["--split", "test"], ["--common"]):
        assert json.loads(shell(*words, *more)[1])["Length"] == 3.0
    assert (
        "no image of the split 'tets'; did you mean 'test'" in shell(*words, "--split", "tets")[2]
    )
    other = write(tmp_path / "o.jsonl", {"image": "3.jpg", "prediction": "a"})
    words = ["eval", other, "--references", human, "--metrics", "length", "--common"]
    assert "have no image in common" in shell(*words)[2]
    assert "--split and --common need a file of --references" in shell("eval", file, "--common")[2]


def test_cocos_own_formats(shell: Shell, tmp_path: Path) -> None:
    results, truth = tmp_path / "results.json", tmp_path / "captions_val2014.json"
    results.write_text(json.dumps([{"image_id": 42, "caption": "a cat sits"}]))
    notes = [{"image_id": 42, "id": n, "caption": text} for n, text in enumerate(("A cat.", "It."))]
    truth.write_text(json.dumps({"images": [], "annotations": notes}))
    words = ["eval", results, "--references", truth, "--metrics", "length,bleu", "--json"]
    status, out, _ = shell(*words)
    assert (status, json.loads(out)["Length"]) == (0, 3.0)
    lines = write(
        tmp_path / "p.jsonl",
        {"image": 42, "references": ["A cat.", "It."], "prediction": "a cat sits"},
    )
    assert json.loads(shell("eval", lines, "--metrics", "length,bleu", "--json")[1]) == json.loads(
        out
    )
    for content, message in (
        ({"a": 1}, "not in COCO's result format"),
        ([{"image_id": 42}], "result 1: no key 'caption'"),
        ([{"image_id": 1.5, "caption": "x"}], "result 1: 'image_id' must be a number"),
        (2 * [{"image_id": 42, "caption": "x"}], "the image '42' has two predictions"),
    ):
        results.write_text(json.dumps(content))
        status, _, err = shell(*words)
        assert (status, message in err) == (2, True), err
    truth.write_text("[]")
    assert "it has no list 'annotations'" in shell(*words)[2]


def test_intervals_over_images(shell: Shell, shared: Path) -> None:
    file = shared / "data" / "coco_eval" / "fakecap_val2014.jsonl"
    _, out, _ = shell("eval", file, "--json", "--metrics", "cider,length", "--intervals")
    result = json.loads(out)
    low, high = result["intervals"]["CIDEr"]
    assert low < result["scores"]["CIDEr"] < high < low + 0.2
    text = shell("eval", file, "--metrics", "cider", "--intervals")[1]
    assert text.split() == [
        "CIDEr",
        *(f"{v:.4f}" for v in (result["scores"]["CIDEr"], low)),
        "to",
        f"{high:.4f}",
    ]


def test_references_of_another_file(shell: Shell, tmp_path: Path) -> None:
    human = write(
        tmp_path / "r.jsonl",
        {"image": "1", "references": ["a cat", "the cat"]},
        {"image": 2, "captions": ["two dogs"], "split": "test"},
    )
    one = {"image": "1", "prediction": "a cat sits"}
    two = {"image": "2", "prediction": "two"}
    file = write(tmp_path / "p.jsonl", two, one)
    status, out, _ = shell("eval", file, "--references", human, "--metrics", "length", "--json")
    assert status == 0
    assert json.loads(out)["Length"] == 2.0
    file = write(tmp_path / "p.jsonl", one)
    _, _, err = shell("eval", file, "--references", human, "--metrics", "length")
    assert f"{file} has no prediction for 1 of the 2 images of {human}, such as '2'" in err
    file = write(tmp_path / "p.jsonl", one, two, {"image": "3", "prediction": "a"})
    _, _, err = shell("eval", file, "--references", human, "--metrics", "length")
    assert f"{file}, line 3: the image '3' has no references" in err
