from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from prefixcap.util.imports.deferred import DeferredModule, deferred

NAMES = ("colorsys", "wsgiref", "wsgiref.util")


@pytest.fixture(autouse=True)
def unloaded() -> Iterator[None]:
    """Take some small modules of the standard library out, and put them back."""
    saved = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    yield
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(saved)


def test_a_deferred_function_imports_its_module_when_it_is_called() -> None:
    with deferred({"colorsys": ["rgb_to_hsv"]}):
        from colorsys import rgb_to_hsv

        assert isinstance(sys.modules["colorsys"], DeferredModule)
    assert "colorsys" not in sys.modules
    assert rgb_to_hsv(1, 0, 0) == (0, 1, 1)
    assert type(sys.modules["colorsys"]) is ModuleType


def test_any_other_attribute_imports_it_at_once() -> None:
    with deferred({"colorsys": ["rgb_to_hsv"]}):
        from colorsys import ONE_THIRD, rgb_to_hsv

        assert ONE_THIRD == 1 / 3
        assert type(sys.modules["colorsys"]) is ModuleType
        with pytest.raises(ImportError):
            from colorsys import no_such_name  # type: ignore[attr-defined]  # noqa: F401
    assert rgb_to_hsv(1, 0, 0) == (0, 1, 1)


def test_a_module_inside_a_deferred_one_can_be_imported() -> None:
    with deferred({"wsgiref": ()}):
        import wsgiref

        util = importlib.import_module("wsgiref.util")
        assert wsgiref.util is util
    assert importlib.import_module("wsgiref").util is util


def test_what_is_imported_already_stays() -> None:
    colorsys = importlib.import_module("colorsys")
    with deferred({"colorsys": ["rgb_to_hsv"]}):
        assert importlib.import_module("colorsys") is colorsys
    assert sys.modules["colorsys"] is colorsys


def test_models_are_loaded_without_what_they_do_not_need() -> None:
    code = """
import sys, prefixcap
prefixcap.ScenesGPT2().build(), prefixcap.ScenesClip().build()
unused = {"scipy.optimize", "torchvision.models", "torchvision.datasets", "pkg_resources"}
assert not unused & set(sys.modules), unused & set(sys.modules)
import torchvision.models, transformers.loss.loss_for_object_detection as loss
assert torchvision.models.resnet18.__name__ == "resnet18"
assert loss.linear_sum_assignment([[1, 2], [2, 1]])[1].tolist() == [0, 1]
import scipy.optimize, torchvision
assert torchvision.datasets.FakeData
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
