"""Models that Accelerate spreads over several devices, the memory and the disk."""

from __future__ import annotations

import importlib.util
from tempfile import TemporaryDirectory
from typing import Any

from prefixcap.errors import PrefixcapError
from prefixcap_hf.memory_limits import memory_limits


def require_spread(init: str) -> None:
    """Check that a model can be spread.

    Raises:
        PrefixcapError: If Accelerate is missing, or the weights are to be drawn.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise PrefixcapError(
            "lm 'hf': device_map needs accelerate: pip install 'prefixcap[device-map]'"
        )
    if init == "random":
        raise PrefixcapError(
            "lm 'hf': device_map spreads weights that are read from files: remove init=random"
        )


def load_spread(
    source: str, dtype: Any, device_map: str, max_memory: str, kwargs: dict[str, str]
) -> Any:
    """Load a model onto several devices; what does not fit is read from the disk at each step.

    See `HF` for the settings, and transformers' `from_pretrained` for the other arguments.
    """
    from transformers import AutoModelForCausalLM

    # For weights that cannot be read from the model's own files, such as those of another dtype.
    folder = TemporaryDirectory(prefix="prefixcap-offload-")
    loader: Any = AutoModelForCausalLM
    model = loader.from_pretrained(
        source,
        dtype=dtype,
        device_map=device_map,
        max_memory=memory_limits(max_memory) or None,
        offload_folder=folder.name,
        trust_remote_code=False,
        **kwargs,
    )
    model.offload_folder = folder  # is removed with the model
    return model
