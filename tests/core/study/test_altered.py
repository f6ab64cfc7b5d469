"""Files of a study that were altered after they were written are noticed and recreated."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_world import outcome
from core.study.test_guards import Recorder

from prefixcap.captioning import checkpoint
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.encoder import Encoder
from prefixcap.study.analysis.reader import load_study
from prefixcap.study.artifacts.features import Features
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.integrity import report_altered
from prefixcap.study.definition.study import Study
from prefixcap.study.execution.runner import run_study
from prefixcap.util.files import read_json

EXPORTS = ("table.md", "grid.png", "epochs.csv")
"""Files that are written for people, and that nothing but a run reads."""
Alter = Callable[[bytes], bytes]


def bit(place: float) -> Alter:
    """Flip one bit, at a share of the content."""

    def alter(content: bytes) -> bytes:
        altered = bytearray(content)
        altered[int(place * (len(content) - 1))] ^= 1
        return bytes(altered)

    return alter


ALTERATIONS: dict[str, Alter] = {
    **{f"bit at {place}": bit(place) for place in (0.0, 0.2, 0.5, 0.8, 1.0)},
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "longer": lambda content: content + b" ",
    "a digit": lambda content: content.replace(b"1", b"2", 1),
    "a letter": lambda content: content.replace(b"e", b"a", 1),
}


@pytest.fixture(scope="module")
def whole(small: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "study"
    run_study(small, folder)
    return folder


@pytest.fixture(scope="module")
def encoder(small: Study) -> Encoder:
    return small.encoders[0].build("cpu")


def artifacts(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".locks" not in path.parts and path.name not in EXPORTS:
            yield path


def complaints(study: Study, folder: Path, encoder: Encoder) -> str:
    """Read everything in a folder, as a run and as the analysis do; return all messages."""
    recorder = Recorder()
    job = StudyJob(study, folder, recorder)
    report_altered(job)
    Features(
        job=job, config=study.encoders[0], encoder=encoder, dataset=study.dataset.build()
    )._shards.discard_altered()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for model in folder.glob("models/*"):
            if model.name[0] != ".":
                try:
                    read_json(model / "key.json")
                    checkpoint.check(model)
                except PrefixcapError as error:
                    recorder.message(str(error))
        try:
            load_study(folder)
        except PrefixcapError as error:
            recorder.message(str(error))
    return "\n".join([*recorder.messages, *(str(each.message) for each in caught)])


def test_every_alteration_is_noticed(small: Study, whole: Path, encoder: Encoder) -> None:
    assert complaints(small, whole, encoder) == ""
    paths = list(artifacts(whole))
    alterations = [(path, name) for path in paths for name in ALTERATIONS]
    # each kind of file is altered in each way; files of the same kind in some ways
    chosen = random.Random(0).sample(alterations, 150)
    kinds = {(path.name, path.parts[-3], name): (path, name) for path, name in alterations}
    tried = 0
    for path, name in dict.fromkeys([*kinds.values(), *chosen]):
        content = path.read_bytes()
        altered = ALTERATIONS[name](content)
        if altered == content or (path.name, name) == ("timings.jsonl", "empty"):
            continue  # lines that are missing as a whole are those of work that was not measured
        path.write_bytes(altered)
        assert str(path) in complaints(small, whole, encoder), f"{path}: {name}"
        path.write_bytes(content)
        tried += 1
    assert tried > 100
    assert complaints(small, whole, encoder) == ""


GROUPS = {
    "key.json": "keys",
    **dict.fromkeys(("cell.json", "config.json", "scores.json"), "hashes"),
}
"""Files without which others are not looked at: keys of models, and hashes of other files."""


@pytest.mark.parametrize("name", ["bit at 0.5", "cut"])
@pytest.mark.parametrize("group", ["keys", "hashes", "the rest"])
def test_altered_files_are_reported_and_recreated(
    small: Study, whole: Path, tmp_path: Path, name: str, group: str
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(whole, folder)
    altered = [path for path in artifacts(folder) if GROUPS.get(path.name, "the rest") == group]
    for path in altered:
        path.write_bytes(ALTERATIONS[name](path.read_bytes()))
    recorder = Recorder()
    run_study(small, folder, recorder)
    assert outcome(folder) == outcome(whole)
    text = "\n".join(recorder.messages)
    assert [path for path in altered if str(path) not in text] == []
    recorder.messages.clear()
    assert not any(run_study(small, folder, recorder).work.values())
    assert recorder.messages == []


def test_an_altered_record_of_epochs_is_reported_and_written_again(
    small: Study, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "study")
    (record,) = tmp_path.glob("study/models/*/epochs.csv")
    content = record.read_bytes()
    record.write_bytes(content[:-1])
    recorder = Recorder()
    assert not any(run_study(small, tmp_path / "study", recorder).work.values())
    (message,) = recorder.messages
    assert message.startswith(f"{record} was altered after it was written")
    assert record.read_bytes() == content
