"""A config whose module imports a heavy library at its top."""

from __future__ import annotations

import attrs
import torch

from mutants.configs import TwistedDecoder


@attrs.frozen(kw_only=True)
class Heavy(TwistedDecoder):
    """Imports torch before it is built.

    Attributes:
        dtype: a default that only torch knows.
    """

    dtype: str = str(torch.float32)
