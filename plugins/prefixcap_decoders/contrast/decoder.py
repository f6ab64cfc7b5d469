"""Guidance and contrastive decoding: a pair of sessions under any decoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap_decoders.contrast.compatibility import check_shared_vocabulary, placed
from prefixcap_decoders.contrast.config import ContrastiveDecoding, Guidance
from prefixcap_decoders.contrast.paired_lm import ContrastLM, Views
from prefixcap_decoders.contrast.plausibility import plausible
from prefixcap_decoders.contrast.wrapped_lm import decode_changed


class GuidanceDecoder(Decoder):
    """Runs a decoder on guided logits."""

    def __init__(self, config: Guidance, decoder: Decoder) -> None:
        self.config = config
        self.decoder = decoder

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's hypotheses; `score` is of the guided logits."""
        scale = self.config.scale

        def combine(conditional: Tensor, alone: Tensor) -> Tensor:
            return scale * conditional.log_softmax(-1) + (1 - scale) * alone.log_softmax(-1)

        pair = ContrastLM(task.lm, task.lm, _views(task, task.lm, self.config.against), combine)
        return decode_changed(task, pair, self.decoder)


class ContrastiveDecoder(Decoder):
    """Runs a decoder on the difference of an expert and an amateur.

    Args:
        config: the settings.
        decoder: what runs on the difference.
        amateur: the amateur, or what builds it on the device where it is first needed; the
            language model itself where None.
    """

    def __init__(
        self,
        config: ContrastiveDecoding,
        decoder: Decoder,
        amateur: LanguageModel | LMConfig | None,
    ) -> None:
        self.config = config
        self.decoder = decoder
        self.amateur = amateur

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's hypotheses; `score` is of the contrasted logits."""
        if isinstance(self.amateur, LMConfig):
            self.amateur = self.amateur.build(*placed(task))
        amateur = self.amateur or task.lm
        weight, temperature = self.config.weight, self.config.temperature

        def combine(expert: Tensor, other: Tensor) -> Tensor:
            difference = expert - weight * (other / temperature).log_softmax(-1)
            return plausible(difference, expert, self.config.alpha)

        views = _views(task, amateur, self.config.against)
        if amateur is not task.lm:
            length = views(1).shape[1]
            check_shared_vocabulary(amateur, task, length, "contrastive-decoding: the amateur")
        pair = ContrastLM(task.lm, amateur, views, combine)
        return decode_changed(task, pair, self.decoder)


def _views(task: DecodingTask, lm: LanguageModel, against: str) -> Views:
    device = task.prefix.device
    if against == "prefix":
        if lm.width != task.prefix.shape[2]:
            raise PrefixcapError(
                f"contrastive-decoding: the amateur's width is {lm.width}, the prefix's "
                f"{task.prefix.shape[2]}; use against='start'"
            )
        return lambda _: task.prefix
    if against == "zero":
        view = torch.zeros(1, 1, lm.width, device=device)
    elif against == "mean":
        if lm.width != task.prefix.shape[2]:
            raise PrefixcapError(
                f"the mean prefix has width {task.prefix.shape[2]}, the amateur {lm.width}; use "
                "against='start'"
            )
        if len(task.prefix) == 1 and lm is task.lm:
            raise PrefixcapError(
                "against='mean' needs several images: the mean of one prefix is that prefix, and "
                "the model against itself says nothing; use against='start' or 'zero'"
            )
        view = task.prefix.mean(0, keepdim=True)
    else:
        if lm.eos_id is None:
            raise PrefixcapError(
                "against='start' needs a language model with an end-of-text token; use 'zero'"
            )
        view = lm.embed(torch.tensor([[lm.eos_id]], device=device))
    return lambda images: view.expand(images, -1, -1)
