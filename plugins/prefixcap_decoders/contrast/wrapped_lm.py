"""A language model with changed logits, on which any decoder runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import final

import attrs
import torch
from torch import Tensor, nn

from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.language_model import LanguageModel, Tokenizer
from prefixcap.interfaces.session import Session, SessionOptions

# at most so many logits are held at once when captions are scored anew
LOGITS = 2**25
IMAGES = 16


class LogitsWrapper(LanguageModel):
    """The base of language models that are another one but for the logits of their sessions."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm

    @property
    @final
    def width(self) -> int:
        """E, the width of a token's embedding."""
        return self.lm.width

    @property
    @final
    def vocab_size(self) -> int:
        """V, the number of logits."""
        return self.lm.vocab_size

    @property
    @final
    def max_positions(self) -> int | None:
        """The longest prefix and text together, where the model has a limit."""
        return self.lm.max_positions

    @property
    @final
    def eos_id(self) -> int | None:
        """The id of the end-of-text token, where the model has one."""
        return self.lm.eos_id

    @property
    @final
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, where there is one."""
        return self.lm.tokenizer

    @property
    @final
    def module(self) -> nn.Module:
        """The model's module."""
        return self.lm.module

    @final
    def embed(self, ids: Tensor) -> Tensor:
        """Looks up the embeddings (...,E) of token ids (...)."""
        return self.lm.embed(ids)

    @final
    def prepend_tokens(self, prefix: Tensor) -> Tensor:
        """Returns what the module itself is to read for prefixes (B,P,E)."""
        return self.lm.prepend_tokens(prefix)

    @final
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Computes the model's own logits (B,T,V) of tokens (B,T) given prefixes (B,P,E)."""
        return self.lm.teacher_forced(prefix, ids, mask)

    @final
    def digest(self) -> str:
        """Returns the model's own hash."""
        return self.lm.digest()

    @abstractmethod
    def start(self, prefix: Tensor, options: SessionOptions) -> Session:
        """Opens a session with changed logits on the prefixes (B,P,E)."""


def decode_changed(
    task: DecodingTask, lm: LanguageModel, decoder: Decoder
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Runs a decoder on changed logits.

    Yields:
        Each image's number and hypotheses: `score` is what the decoder ranked by on the changed
        logits, `logprob` the model's own.
    """
    found = decoder.decode(attrs.evolve(task, lm=lm))
    while group := list(islice(found, IMAGES)):
        flat = [(image, hypothesis) for image, hypotheses in group for hypothesis in hypotheses]
        logprobs = iter(own_logprobs(task, flat))
        for image, hypotheses in group:
            yield image, [attrs.evolve(h, logprob=next(logprobs)) for h in hypotheses]


def own_logprobs(task: DecodingTask, flat: Sequence[tuple[int, Hypothesis]]) -> list[float]:
    """Computes the model's own log-probability of hypotheses by teacher forcing.

    Args:
        task: what was decoded.
        flat: images and their hypotheses.
    """
    texts = [[*h.ids, *([] if h.stop_id is None else [h.stop_id])] for _, h in flat]
    longest = max(map(len, texts), default=0)
    step = max(1, LOGITS // max(1, longest * task.lm.vocab_size))
    found: list[float] = []
    for first in range(0, len(texts), step):
        part = texts[first : first + step]
        images = [image for image, _ in flat[first : first + step]]
        device = task.prefix.device
        ids = torch.tensor([t + [0] * (longest - len(t)) for t in part], device=device)
        lengths = torch.tensor([len(t) for t in part], device=device)
        mask = torch.arange(longest, device=device) < lengths[:, None]
        logits = task.lm.teacher_forced(task.prefix[images], ids, mask).float()
        chosen = logits.gather(2, ids[:, :, None]).squeeze(2) - logits.logsumexp(-1)
        found += chosen.masked_fill(~mask, 0.0).sum(1).tolist()
    return found
