from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from prefixcap.errors import PrefixcapError
from prefixcap.util.imports.torchvision import TorchvisionFinder, patch_torchvision
from prefixcap.util.runtime import cache_dir, device_named, dtype_named, dtype_slowdown


def test_transformers_can_be_imported_after_prefixcap_alone() -> None:
    program = """
        import sys
        import prefixcap
        assert "torch" not in sys.modules
        from transformers import GPT2LMHeadModel
        import clip, torchvision
    """
    lines = "\n".join(line.strip() for line in program.splitlines())
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_operators_of_torchvision_are_declared_once() -> None:
    import torch

    for finder in (TorchvisionFinder(), TorchvisionFinder()):
        finder.find_spec("torchvision._meta_registrations")
        assert torch.ops.torchvision.nms
    patch_torchvision()
    assert sum(isinstance(finder, TorchvisionFinder) for finder in sys.meta_path) == 1


def test_dtypes_are_known_by_name() -> None:
    import torch

    assert dtype_named("bfloat16") is torch.bfloat16
    with pytest.raises(PrefixcapError) as caught:
        dtype_named("bfloat")
    assert str(caught.value) == (
        "unknown dtype 'bfloat'; did you mean 'bfloat16'? known: bfloat16, float16, float32"
    )


def test_a_name_in_torch_that_is_no_dtype_is_refused() -> None:
    with pytest.raises(PrefixcapError, match="unknown dtype 'nn'"):
        dtype_named("nn")


def test_the_slowdown_of_a_dtype_is_measured_once() -> None:
    assert dtype_slowdown("float16") > 0
    assert dtype_slowdown("float16") == dtype_slowdown("float16")
    with pytest.raises(PrefixcapError, match="unknown dtype 'bfloat'"):
        dtype_slowdown("bfloat")


def test_devices() -> None:
    import torch

    assert device_named("cpu") == "cpu"
    assert device_named("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(
        PrefixcapError, match="the device 'abacus' cannot be used here; known: auto"
    ):
        device_named("abacus")


def test_the_cache_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFIXCAP_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("PREFIXCAP_CACHE")
    assert cache_dir().parts[-1] == "prefixcap"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be tuned")
def test_freed_memory_is_reused_with_the_tuned_allocator() -> None:
    def fresh_pages(first: str) -> int:
        program = f"""
            import resource
            import numpy as np
            from prefixcap.util.runtime import tune_allocator
            {first}
            np.ones(1 << 24)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(8): np.ones(1 << 24)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        """
        lines = "\n".join(line.strip() for line in program.splitlines())
        done = subprocess.run(
            [sys.executable, "-c", lines],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"},
        )
        return int(done.stdout)

    assert fresh_pages("assert tune_allocator()") < fresh_pages("pass") / 10
