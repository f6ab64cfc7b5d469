"""Guidance and contrastive decoding: any decoder on the logits of two sessions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.session import Session
from prefixcap_decoders.contrast.config import ContrastiveDecoding, Guidance
from prefixcap_decoders.contrast.logits_wrapper import LogitsWrapper, Views, decode_changed
from prefixcap_decoders.nested import check_shared_vocabulary, device_and_dtype


class ContrastDecoder(Decoder):
    """Runs a decoder on the language model's logits combined with those of a second view.

    Args:
        config: Settings.
        decoder: Decoder that runs on the combined logits.
        amateur: Language model of the second view, or its config, which is built at the first use;
            None for the language model itself.
    """

    def __init__(
        self,
        config: Guidance | ContrastiveDecoding,
        decoder: Decoder,
        amateur: LanguageModel | LMConfig | None = None,
    ) -> None:
        self.config = config
        self.decoder = decoder
        self.amateur = amateur

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        if isinstance(self.amateur, LMConfig):
            self.amateur = self.amateur.build(*device_and_dtype(task))
        other = self.amateur or task.lm
        views = _views(task, other, self.config.against)
        if other is not task.lm:
            length = views(1).shape[1]
            check_shared_vocabulary(other, task, length, "contrastive-decoding: the amateur")
        wrapper = LogitsWrapper(task.lm, self._combine, [(other, views)])
        return decode_changed(task, wrapper, self.decoder)

    def _combine(self, sessions: Sequence[Session]) -> Tensor:
        own, other = (session.logits for session in sessions)  # (R, V) each
        config = self.config
        if isinstance(config, Guidance):
            return config.scale * own.log_softmax(-1) + (1 - config.scale) * other.log_softmax(-1)
        difference = own - config.weight * (other / config.temperature).log_softmax(-1)
        return plausible(difference, own, config.alpha)


def plausible(scores: Tensor, logits: Tensor, alpha: float) -> Tensor:
    """Return scores (R,V), -inf below `alpha` times the highest probability."""
    minimum = logits.amax(-1, keepdim=True) + math.log(alpha)
    return torch.where(logits >= minimum, scores, float("-inf"))


def _views(task: DecodingTask, lm: LanguageModel, against: str) -> Views:
    device = task.prefix.device
    if against in ("prefix", "null", "mean") and lm.width != task.prefix.shape[2]:
        raise PrefixcapError(
            f"contrastive-decoding: against={against!r} needs an amateur as wide as the prefix: "
            f"the amateur's width is {lm.width}, the prefix's {task.prefix.shape[2]}; use "
            "against='start'"
        )
    if against == "prefix":
        return lambda _: task.prefix
    if against == "null":
        if task.null_prefix is None:
            raise PrefixcapError(
                "against='null' needs the prefix of an image that is not shown, which a trained "
                "captioner has: decode with it, or give `null_prefix`; or use against='start'"
            )
        view = task.null_prefix[None]
    elif against == "zero":
        view = torch.zeros(1, 1, lm.width, device=device)
    elif against == "mean":
        if len(task.prefix) == 1 and lm is task.lm:
            raise PrefixcapError(
                "against='mean' needs several images: the mean of a single prefix is that prefix, "
                "and a model contrasted with itself has no effect; use against='start' or 'zero'"
            )
        view = task.prefix.mean(0, keepdim=True)
    else:
        if lm.eos_id is None:
            raise PrefixcapError(
                "against='start' needs a language model with an end-of-text token; use 'zero'"
            )
        view = lm.embed(torch.tensor([[lm.eos_id]], device=device))
    return lambda images: view.expand(images, -1, -1)
