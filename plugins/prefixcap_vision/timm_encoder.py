"""A model of timm as an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from typing_extensions import override

from prefixcap.captioning.module_encoder import ModuleEncoder, flattened
from prefixcap.errors import PrefixcapError
from prefixcap.util.runtime import device_named
from prefixcap.util.text_files import expanded
from prefixcap_vision.loading import HUB, check_known, in_folder, loading, require, weights_file

if TYPE_CHECKING:
    from PIL import Image


_REMAP = "; if only the names of its tensors differ, remap=true takes them in their order"


class TimmEncoder(ModuleEncoder):
    """A model of timm without its classifier, with the preprocessing of its weights.

    Args:
        model: The model, which returns pooled features.
        features: "pooled" or "tokens".
    """

    def __init__(self, model: Any, features: str) -> None:
        from timm.data import create_transform, resolve_model_data_config

        settings = resolve_model_data_config(model)
        super().__init__("timm", model, settings=repr(sorted(settings.items())))
        self._transform: Any = create_transform(**settings)
        self._pooled = features == "pooled"
        self._channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"

    @override
    def pixels(self, picture: Image.Image) -> Tensor:
        pixels: Tensor = self._transform(picture)
        return pixels

    @override
    def features(self, pixels: Tensor) -> Tensor:
        model: Any = self.module
        if self._pooled:
            pooled: Tensor = model(pixels)
            return pooled
        cells: Tensor = model.forward_features(pixels)
        if cells.ndim == 4 and self._channels_last:
            return cells.flatten(1, 2)
        return flattened(cells)


def load(
    *, model: str, weights: str, remap: bool, features: str, cache_dir: str, device: str
) -> TimmEncoder:
    """Load a model; see `Timm` for the settings.

    Raises:
        PrefixcapError: If timm is not installed, or there is no such model or file, or they do not
            fit each other.
    """
    require("timm", "timm")
    with loading("timm", model):
        model = _known_name(model)
        if remap and not weights:
            raise PrefixcapError("remap=true is for a file: give 'weights' too")
        file = weights_file(weights) if weights else None
    named = model if file is None else f"{model} with {file}"
    with loading("timm", named, _cure(model) if file is None else _REMAP):
        module = _published(model, cache_dir) if file is None else _filled(model, file, remap)
        return TimmEncoder(module.to(device_named(device)), features)


def _known_name(model: str) -> str:
    """Return the name by which timm knows a model or the folder of one."""
    import timm

    name = in_folder(model)
    if ":" not in name:
        check_known("model", name.partition(".")[0], timm.list_models())
        if "." in name:
            check_known("model", name, timm.list_pretrained())
    return name


def _published(model: str, cache_dir: str) -> Any:
    import timm

    cache = str(expanded(cache_dir)) if cache_dir else None
    return timm.create_model(model, pretrained=True, num_classes=0, cache_dir=cache)


def _filled(model: str, file: Path, remap: bool) -> Any:
    """Return a model with all weights of a file; its classifier has as many classes as theirs."""
    import timm
    from timm.models import load_state_dict, remap_state_dict

    state = load_state_dict(str(file), weights_only=True)
    if remap:
        module: Any = timm.create_model(model)
        _check_order(module.state_dict(), state, file)
        module.load_state_dict(remap_state_dict(state, module, allow_reshape=False))
    else:
        classes = _classes(model, state)
        source = {"state_dict": state, "num_classes": classes, "label_offset": 0}
        overlay = {**source, "custom_load": False, "source": "timm"}
        module = timm.create_model(
            model, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay
        )
    module.pretrained_cfg.pop("state_dict", None)
    module.reset_classifier(0)
    return module


def _classes(model: str, state: dict[str, Tensor]) -> int:
    """Return the number of a file's classes; 0 if it has none."""
    import timm

    names = timm.get_pretrained_cfg(model, allow_unregistered=True).classifier
    first = names if isinstance(names, str) else (names or ("",))[0]
    weight = state.get(f"{first}.weight")
    return 0 if weight is None else len(weight)


def _check_order(expected: dict[str, Tensor], given: dict[str, Tensor], file: Path) -> None:
    """Raise a `PrefixcapError` unless tensors have the same shapes in the same order."""
    if len(expected) != len(given):
        raise PrefixcapError(
            f"{file} has {len(given)} tensors and the model {len(expected)}: they cannot be taken "
            "in their order"
        )
    for (own, tensor), (name, other) in zip(expected.items(), given.items(), strict=True):
        if tensor.shape != other.shape:
            raise PrefixcapError(
                f"{file}: {name} has shape {tuple(other.shape)} and the model's {own} "
                f"{tuple(tensor.shape)}: they cannot be taken in their order"
            )


def _cure(model: str) -> str:
    """Say which file to fetch on another machine."""
    import timm

    settings: Any = None if ":" in model else timm.get_pretrained_cfg(model)
    place = getattr(settings, "hf_hub_id", None) or getattr(settings, "url", None)
    if model.startswith(HUB):
        place = model.removeprefix(HUB)
    if not place:
        return ""
    return (
        f"; without a network, fetch the weights of {place} on another machine (on the hub, "
        "model.safetensors) and give that file as 'weights'"
    )
