from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from prefixcap.errors import PrefixcapError
from prefixcap.evaluation.readers import read_records

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


def caption(**more: object) -> dict[str, object]:
    return {**GOOD, "captions": [{"text": "a cat", **more}]}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('{"image": 1', "line 2: not JSON: Expecting ',' delimiter at column 12"),
        ("[" * 100_000, "line 2: not JSON: lists or objects are nested more than 100 deep"),
        ('{"image": ' + "9" * 5000 + "}", "line 2: not JSON: a number has more than 4300 digits"),
        ('{"image": 1, "image": 2}', "line 2: not JSON: the key 'image' appears twice"),
        ('{"image": NaN}', "line 2: not JSON: NaN is not JSON"),
        ({**GOOD, "prediction": "\ud83d"}, "line 2: not JSON: a text contains half a character"),
        ({**GOOD, "image": True}, "line 2: 'image' must be a text, not True"),
        ({**GOOD, "image": None}, "line 2: 'image' must be a text, not None"),
        ({**GOOD, "image": 1.0}, "line 2: 'image' must be a text, not 1.0"),
        ({**GOOD, "references": [1] * 10**5}, "line 2: 'references' must be a list of at least"),
        (caption(logprob="x"), "line 2: 'logprob' of a caption must be a finite number, not 'x'"),
        (caption(logprob=True), "line 2: 'logprob' of a caption must be a finite number, not True"),
        (caption(logprob=10**400), "line 2: 'logprob' of a caption must be a finite number, not 1"),
        (caption(tokens=-1), "line 2: 'tokens' of a caption must be a number of tokens, not -1"),
        (caption(tokens=1.5), "line 2: 'tokens' of a caption must be a number of tokens, not 1.5"),
        (caption(finish=["stop"]), "line 2: 'finish' of a caption must be a text, not ['stop']"),
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
    assert len(err) < 700


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
        ([{"image_id": 1.5, "caption": "x"}], "result 1: 'image_id' must be a number, not 1.5"),
        ([{"image_id": True, "caption": "x"}], "result 1: 'image_id' must be a number, not True"),
        ([{"image_id": 42, "caption": None}], "result 1: 'caption' must be a text, not None"),
        ([5], "result 1: expected an object with 'image_id' and 'caption'"),
        (2 * [{"image_id": 42, "caption": "x"}], "the image '42' has two predictions"),
    ):
        results.write_text(json.dumps(content))
        status, _, err = shell(*words)
        assert (status, message in err) == (2, True), err
    truth.write_text("[]")
    assert "it has no list 'annotations'" in shell(*words)[2]


NUMBERED = "COCO_val2014_000000000042.jpg"
NAMES = (42, "42", "000000000042", NUMBERED, f"val2014/{NUMBERED}", f"C:\\x\\{NUMBERED}", "42.JPG")


@pytest.mark.parametrize("predicted", NAMES)
def test_the_names_of_one_image_meet(shell: Shell, tmp_path: Path, predicted: object) -> None:
    note = {"image_id": 42, "id": 1, "caption": "A cat."}
    truth = tmp_path / "captions_val2014.json"
    truth.write_text("\ufeff" + json.dumps({"images": [], "annotations": [note]}), "utf-8")
    lines = write(tmp_path / "p.jsonl", {"image": predicted, "prediction": "a cat sits"})
    lines.write_text("\ufeff" + lines.read_text(), "utf-8")
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{"image_id": predicted, "caption": "a cat sits"}]))
    references = [truth]
    for number, name in enumerate(NAMES):
        line = {"image": name, "references": ["A cat."]}
        references.append(write(tmp_path / f"r{number}.jsonl", line))
    for known in references:
        records = [read_records(file, known) for file in (lines, results)]
        assert records[0] == records[1]
        assert records[0][0].references == ("A cat.",)
    words = ["--references", truth, "--metrics", "length", "--json"]
    assert json.loads(shell("eval", lines, *words)[1])["Length"] == 3.0


def test_names_that_may_be_several_images_are_refused(shell: Shell, tmp_path: Path) -> None:
    human = [
        {"image": name, "references": ["A."]} for name in ("a/1.jpg", "b/1.jpg", "2.png", "03")
    ]
    truth = write(tmp_path / "r.jsonl", *human)

    def error(*images: str) -> str:
        rows = [{"image": image, "prediction": "a"} for image in images]
        file = write(tmp_path / "p.jsonl", *rows)
        words = ["--references", truth, "--metrics", "length"]
        status, out, err = shell("eval", file, *words, "--common")
        return out if status == 0 else err

    sentence = "p.jsonl, line 1: the image {!r} may be any of 'a/1.jpg', 'b/1.jpg': give its full"
    for name in ("1.jpg", "c/1.jpg", "1", "COCO_val2014_000000000001"):
        assert sentence.format(name) in error(name)
    assert "Length" in error("a/1.jpg", "b/1.jpg", "x/2.jpg", "3.jpeg")
    assert (
        "p.jsonl, line 2: the image '03' has two predictions, here as '3.jpg' and in line 1 as '3'"
        in error("3", "3.jpg")
    )


def test_ids_that_are_not_the_numbers_of_their_files(tmp_path: Path) -> None:
    photos = [{"id": 1, "file_name": "2.jpg"}, {"id": 2, "file_name": "1.jpg"}, 5, {"id": [1]}]
    notes = [{"image_id": n, "caption": f"of {n}"} for n in (1, 2)]
    truth = tmp_path / "t.json"
    truth.write_text(json.dumps({"images": photos, "annotations": notes}))
    rows = [{"image": f"x/{n}.jpg", "prediction": "a"} for n in (1, 2)]
    records = read_records(write(tmp_path / "p.jsonl", *rows), truth)
    assert [record.references for record in records] == [("of 2",), ("of 1",)]
    with pytest.raises(PrefixcapError, match="line 1: the image '01' may be any of '1', '2'"):
        read_records(write(tmp_path / "p.jsonl", {"image": "01", "prediction": "a"}), truth)


def test_a_file_of_another_kind_is_told_the_known_ones(tmp_path: Path) -> None:
    for name, content, reason in (
        ("p.csv", "image,caption\n1,a cat\n", "known: JSON lines with 'image' and 'prediction'"),
        ("p.txt", "a cat\n", "a file in COCO's format must end in .json"),
        ("p.jsonl", '[{"image_id": 1, "caption": "a"}]', "a file in COCO's format must end in .js"),
        (
            "p.json",
            '{"image": 1}\n{"image": 2}',
            "a file with one object per line must end in .jso",
        ),
        ("p.json", '{"1": "a cat"}', "is not in COCO's result format, a list of objects with 'ima"),
        ("p.json", "", "is not JSON: Expecting value"),
        ("p.pkl", "\x80\x04", "known: JSON lines"),
    ):
        (tmp_path / name).write_text(content, "latin-1")
        with pytest.raises(PrefixcapError, match=re.escape(reason)):
            read_records(tmp_path / name)


@pytest.mark.parametrize("split", ["val", "validation", "dev"])
def test_a_split_of_references_by_another_name(tmp_path: Path, split: str) -> None:
    human = [{"image": s, "captions": ["A."], "split": s} for s in ("train", "Validation")]
    truth = write(tmp_path / "r.jsonl", *human)
    file = write(tmp_path / "p.jsonl", {"image": "Validation", "prediction": "a"})
    assert len(read_records(file, truth, split=split)) == 1


def test_an_error_about_many_images_is_short(shell: Shell, tmp_path: Path) -> None:
    rows = [{"image": f"{n:06}.jpg", "references": ["A."]} for n in range(20_000)]
    truth = write(tmp_path / "r.jsonl", *rows)
    file = write(tmp_path / "p.jsonl", {"image": "00001.jpgg", "prediction": "a"})
    err = shell("eval", file, "--references", truth, "--metrics", "length")[2]
    assert "the image '00001.jpgg' has no references; did you mean" in err
    assert err.endswith("and 19990 more\n")
    assert len(err) < 600


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


def test_exported_results_have_the_same_scores(shell: Shell, tmp_path: Path) -> None:
    names = ["7", "000000000008.jpg", "val2014/COCO_val2014_000000000042.jpg"]
    rows = [
        {"image": name, "captions": [{"text": f"a café number {n}"}, {"text": "another"}]}
        for n, name in enumerate(names)
    ]
    references = [
        {"image_id": number, "id": number, "caption": f"a café of {number}"}
        for number in (7, 8, 42)
    ]
    annotations = tmp_path / "annotations.json"
    annotations.write_text(json.dumps({"images": [], "annotations": references}))
    file, out = write(tmp_path / "captions.jsonl", *rows), tmp_path / "results.json"
    status, text, _ = shell("export", "results", file, "--out", out, "--json")
    assert status == 0
    assert json.loads(text) == {"file": str(out), "what": "results", "images": 3}
    assert json.loads(out.read_text()) == [
        {"image_id": number, "caption": f"a café number {n}"} for n, number in enumerate((7, 8, 42))
    ]
    scores = [
        shell("eval", each, "--references", annotations, "--metrics", "length", "--json")[1]
        for each in (file, out)
    ]
    assert json.loads(scores[0]) == json.loads(scores[1])


def test_results_need_numbers_of_coco(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    file = write(tmp_path / "p.jsonl", GOOD, {**GOOD, "image": "dog.jpg"})
    status, _, error = shell("export", "results", file, "--out", out)
    assert status == 2
    assert "line 2: the image 'dog.jpg' has no number of COCO" in error
    file = write(tmp_path / "q.jsonl", GOOD, {**GOOD, "image": "0001.jpg"})
    assert (
        "line 2: the image 1 has two predictions"
        in shell("export", "results", file, "--out", out)[2]
    )
    assert not out.exists()
