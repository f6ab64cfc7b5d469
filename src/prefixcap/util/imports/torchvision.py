"""Allow importing torchvision with a torch that its compiled operators were not built for.

The package index has no torchvision for a CPU-only torch. The ordinary one then fails on import,
and clip and transformers with it, because it registers shapes for two operators that its missing
binary would have defined. Nothing here runs these operators, so declaring them is enough.
"""

from __future__ import annotations

import sys
from typing import Any

_REGISTRATION = "torchvision._meta_registrations"


class TorchvisionFinder:
    """A meta path finder that finds nothing, but declares the operators just before they are used.

    torchvision has then loaded its binary, so only missing operators are declared,
    and `import prefixcap` need not import torch to find out.
    """

    _library: Any = None
    """torch forgets the declarations together with this object."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Declare the missing operators if torchvision is about to register their shapes."""
        if fullname != _REGISTRATION:
            return
        import torch

        missing = [name for name in ("nms", "qnms") if not hasattr(torch.ops.torchvision, name)]
        if missing:
            self._library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in missing:
            self._library.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )


def patch_torchvision() -> None:
    """Install the finder, once; `import prefixcap` calls this."""
    if not any(isinstance(finder, TorchvisionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchvisionFinder())
