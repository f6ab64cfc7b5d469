"""A third party's plugin, end to end: installed into a fresh environment, listed, checked, used."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import site
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "plugins" / "example"
pytestmark = pytest.mark.timeout(1200)  # it starts six processes that import torch
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Create an environment with the example, on top of the installed packages."""
    folder = tmp_path_factory.mktemp("third party")
    has_pip = importlib.util.find_spec("pip") is not None
    venv.create(folder / "env", symlinks=True, with_pip=not has_pip)
    python = folder / "env" / "bin" / "python"
    (own,) = (folder / "env" / "lib").glob("python*/site-packages")
    # addsitedir, because editable installs there are .pth files too
    outer = "; ".join(f"site.addsitedir({path!r})" for path in site.getsitepackages())
    (own / "outer.pth").write_text(f"import site; {outer}\n")
    # a copy, because setuptools builds inside the source's folder
    source = shutil.copytree(
        EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info")
    )

    def run(*words: str | Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [python, *words],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=folder,
            env=environment | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1"},
        )

    pip = ("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    done = run(*pip, source)
    assert done.returncode == 0, done.stderr
    return run


def prefixcap(shell: Shell, *words: str | Path) -> str:
    program = "import sys; from prefixcap.cli import main; sys.exit(main())"
    done = shell("-c", program, *words)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_it_is_not_part_of_the_outer_environment() -> None:
    assert importlib.util.find_spec("prefixcap_example") is None
    assert "prefixcap_example" not in sys.modules


def test_it_is_listed_with_its_distribution(shell: Shell) -> None:
    assert "epsilon-greedy" in prefixcap(shell, "list", "decoder")
    plugins = {
        plugin["name"]: plugin for plugin in json.loads(prefixcap(shell, "plugins", "--json"))
    }
    assert plugins["example"]["distribution"] == "prefixcap-example 0.1.0"
    assert plugins["example"]["components"] == ["decoder epsilon-greedy"]


def test_it_conforms_from_the_shell(shell: Shell) -> None:
    message = prefixcap(shell, "check", "decoder", "epsilon-greedy:epsilon=0.5,k=2")
    assert "batch-alone" in message


def test_its_own_tests_pass_in_that_environment(shell: Shell) -> None:
    done = shell("-m", "pytest", "-q", "-p", "no:cacheprovider", "source/tests")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


def test_bench_runs_with_it(shell: Shell, tmp_path: Path) -> None:
    message = prefixcap(
        shell,
        "bench",
        *("--decoder", "greedy,epsilon-greedy:epsilon=0.9,k=4"),
        *("--dataset", "scenes:train=24,val=8,test=8"),
        *("--limit", "8", "--epochs", "1", "--metrics", "length", "--json"),
        *("--out", tmp_path / "run"),
    )
    rows = json.loads(message)["rows"]
    assert [row["decoder"].partition(":")[0] for row in rows] == ["greedy", "epsilon-greedy"]
    assert all(row["scores"] for row in rows)


def test_a_change_of_its_code_is_noticed_where_it_is_installed_in_place(
    shell: Shell, tmp_path: Path
) -> None:
    source = shutil.copytree(EXAMPLE, tmp_path / "source")
    pip = ("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    digests = (
        "from prefixcap.plugin.registry import Registry; from prefixcap.plugin import specs; "
        "classes = [Registry().config_class('decoder', n) for n in ('epsilon-greedy', 'greedy')]; "
        "print(*(specs.digest(each()) for each in classes))"
    )

    def keys() -> list[str]:
        done = shell("-c", digests)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    before = keys()
    done = shell(*pip, "--editable", source)
    assert done.returncode == 0, done.stderr
    editable = keys()
    (code,) = source.rglob("decoder.py")
    code.write_text(code.read_text() + "# another version of it\n")
    edited = keys()
    assert len({before[0], editable[0], edited[0]}) == 3
    assert before[1] == editable[1] == edited[1]
