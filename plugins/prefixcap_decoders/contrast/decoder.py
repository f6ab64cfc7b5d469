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


class GuidanceDecoder(Decoder):
    """Runs a decoder on guided logits."""

    def __init__(self, config: Guidance, decoder: Decoder) -> None:
        self.config = config
        self.decoder = decoder

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        scale = self.config.scale

        def combine(sessions: Sequence[Session]) -> Tensor:
            conditional, alone = (session.logits.log_softmax(-1) for session in sessions)
            return scale * conditional + (1 - scale) * alone

        views = _views(task, task.lm, self.config.against)
        guided = LogitsWrapper(task.lm, combine, [(task.lm, views)])
        return decode_changed(task, guided, self.decoder)


class ContrastiveDecoder(Decoder):
    """Runs a decoder on the difference between an expert and an amateur.

    Args:
        config: Settings.
        decoder: Decoder that runs on the difference.
        amateur: Amateur, or its config, which is built at the first use; None for the language
            model itself.
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

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        if isinstance(self.amateur, LMConfig):
            self.amateur = self.amateur.build(*device_and_dtype(task))
        amateur = self.amateur or task.lm
        weight, temperature = self.config.weight, self.config.temperature

        def combine(sessions: Sequence[Session]) -> Tensor:
            expert, other = (session.logits for session in sessions)
            difference = expert - weight * (other / temperature).log_softmax(-1)
            return plausible(difference, expert, self.config.alpha)

        views = _views(task, amateur, self.config.against)
        if amateur is not task.lm:
            length = views(1).shape[1]
            check_shared_vocabulary(amateur, task, length, "contrastive-decoding: the amateur")
        contrasted = LogitsWrapper(task.lm, combine, [(amateur, views)])
        return decode_changed(task, contrasted, self.decoder)


def plausible(scores: Tensor, logits: Tensor, alpha: float) -> Tensor:
    """Return scores (R,V), -inf below `alpha` times the highest probability."""
    minimum = logits.amax(-1, keepdim=True) + math.log(alpha)
    return torch.where(logits >= minimum, scores, float("-inf"))


def _views(task: DecodingTask, lm: LanguageModel, against: str) -> Views:
    device = task.prefix.device
    if against in ("prefix", "mean") and lm.width != task.prefix.shape[2]:
        raise PrefixcapError(
            f"contrastive-decoding: against={against!r} needs an amateur as wide as the prefix: "
            f"the amateur's width is {lm.width}, the prefix's {task.prefix.shape[2]}; use "
            "against='start'"
        )
    if against == "prefix":
        return lambda _: task.prefix
    if against == "zero":
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
