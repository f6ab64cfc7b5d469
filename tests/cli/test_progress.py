from __future__ import annotations

import os
import re
import time

import pytest

from prefixcap.cli.progress import Bars, Lines, reporter


def test_lines_have_title_progress_rate_and_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Lines(every=0).task("encoding", 4, "images") as task:
        task.update(2, note="loss 1.5")
        task.update(4)
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    pattern = r"encoding: 2/4 images, [\d.]+ images/s, loss 1\.5, about \d+ s left"
    assert re.fullmatch(pattern, first)
    assert re.fullmatch(r"encoding: 4/4 images, [\d.]+ images/s in [\d.]+ s", last)


def test_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(every=60).task("encoding", 1000, "images") as task:
        for done in range(1000):
            task.update(done)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_untimed_step_has_no_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Lines(every=0).task("training", 1, "steps") as task:
        task.resume(7)
        task.update(7, 9, note="loss 1.5")
        task.update(8, 9)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "training: 7/9 steps, loss 1.5"
    assert re.fullmatch(r"training: 8/9 steps, [\d.]+ steps/s, about \d+ s left", second)
    assert re.fullmatch(r"training: 8/9 steps, [\d.]+ steps/s in [\d.]+ s", last)


def test_bars_show_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars().task("training", 1, "steps") as task:
        task.update(5, 10, note="loss 2.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert "training" in err
    assert "5/10" in err
    assert "steps/s" in err


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
def test_the_bar_is_there_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    title = "[123/456] captioning transformer-p40-frozen-s0-contrastive-search"
    with Bars().task(title, 10, "captions") as task:
        time.sleep(0.05)
        task.update(60, 100, note="epoch 3, loss 1.234, val_loss 1.345")
    line = capsys.readouterr().err.splitlines()[0]
    assert "━" * 5 in line  # sixty percent of a bar of ten or more
    assert "60/100" in line
    assert ("captions/s" in line) == (width >= 70)
    assert len(line) <= width


def test_bars_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = os.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        assert isinstance(reporter(), Bars)
    os.close(leader)
    with open(os.devnull, "w") as nothing:  # noqa: PTH123
        monkeypatch.setattr("sys.stderr", nothing)
        assert isinstance(reporter(), Lines)
