"""`Folding`: the language model of a captioner as it decodes, with its tuning folded in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from prefixcap.util.checksum import checksum
from prefixcap.util.sharing import copy_sharing_weights

if TYPE_CHECKING:
    from prefixcap.interfaces.language_model import LanguageModel
    from prefixcap.interfaces.tuning import TuningConfig


@attrs.define
class Folding:
    """Keeps the last folded copy of a language model while the trained parameters stay the same.

    Folding changes only the copy, so that saving still writes what was trained, and a model that
    was just trained decodes as the one that is loaded later.
    """

    _made_of: tuple[object, ...] = ()
    _weights: Tensor | None = None
    _folded: LanguageModel | None = None

    def folded(self, lm: LanguageModel, tuning: TuningConfig) -> LanguageModel:
        """Return a folded copy of a language model, or the model if its tuning does not fold."""
        if not tuning.folds:
            return lm
        parameters = list(lm.module.parameters())
        # another training may have frozen the model in the meantime
        trained = [p for p in parameters if p.requires_grad] or parameters
        made_of = (lm, tuning, *((p.data_ptr(), p.dtype) for p in parameters))
        weights = checksum(trained)
        if made_of != self._made_of or not _equal(weights, self._weights):
            self._folded = None  # free the memory of the last copy first
            copied = copy_sharing_weights(lm, lm.module, lm.tokenizer)
            with torch.no_grad():
                tuning.build().fold(copied.module)
            self._made_of, self._weights, self._folded = made_of, weights, copied
        assert self._folded is not None
        return self._folded


def _equal(one: Tensor, two: Tensor | None) -> bool:
    return two is not None and torch.equal(one, two)
