"""A language model with changed logits, on which any decoder runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import attrs
import torch
from torch import Tensor, nn
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.language_model import LanguageModel, Tokenizer
from prefixcap.interfaces.session import Session, SessionOptions
from prefixcap_decoders.lockstep import LockstepSession, admit_in_lockstep
from prefixcap_decoders.rescoring import own_logprobs

Combine = Callable[[Sequence[Session]], Tensor]
Views = Callable[[int], Tensor]

# number of images that are rescored at once
IMAGES = 16


class LogitsWrapper(LanguageModel):
    """A language model whose sessions combine the logits of its own and of other sessions.

    Args:
        lm: Language model that captions.
        combine: Returns the logits (R,V), given the language model's session and the others'.
        others: Other language models, each with a function that returns its prefixes (B,P',E')
            for B images.
        hidden_states: Whether `combine` reads the language model's hidden states.
    """

    def __init__(
        self,
        lm: LanguageModel,
        combine: Combine,
        others: Sequence[tuple[LanguageModel, Views]] = (),
        *,
        hidden_states: bool = False,
    ) -> None:
        self.lm = lm
        self.combine = combine
        self.others = others
        self.hidden_states = hidden_states

    @property
    @override
    def width(self) -> int:
        return self.lm.width

    @property
    @override
    def vocab_size(self) -> int:
        return self.lm.vocab_size

    @property
    @override
    def max_positions(self) -> int | None:
        return self.lm.max_positions

    @property
    @override
    def eos_id(self) -> int | None:
        return self.lm.eos_id

    @property
    @override
    def tokenizer(self) -> Tokenizer | None:
        return self.lm.tokenizer

    @property
    @override
    def module(self) -> nn.Module:
        return self.lm.module

    @property
    @override
    def device(self) -> torch.device:
        return self.lm.device

    @override
    def embed(self, ids: Tensor) -> Tensor:
        return self.lm.embed(ids)

    @override
    def prepend_tokens(self, prefix: Tensor) -> Tensor:
        return self.lm.prepend_tokens(prefix)

    @override
    def teacher_forced(self, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Compute the model's own logits (B,T,V), unchanged."""
        return self.lm.teacher_forced(prefix, ids, mask)

    @override
    def digest(self) -> str:
        return self.lm.digest()

    @override
    def start(self, prefix: Tensor, options: SessionOptions) -> CombinedSession:
        hidden_states = options.hidden_states or self.hidden_states
        own = self.lm.start(prefix, attrs.evolve(options, hidden_states=hidden_states))
        sessions = [LockstepSession(own, hidden_states=options.hidden_states)]
        # decoders read hidden states of the first session only
        options = attrs.evolve(options, hidden_states=False)
        for lm, views in self.others:
            sessions.append(LockstepSession(lm.start(views(len(prefix)), options)))
        return CombinedSession(sessions, self.combine)


class CombinedSession(Session):
    """Sessions with the same rows, whose logits are combined once per step."""

    def __init__(self, sessions: Sequence[LockstepSession], combine: Combine) -> None:
        self._sessions = sessions
        self._combine = combine
        self._logits: Tensor | None = None

    @property
    @override
    def images(self) -> list[int]:
        return self._sessions[0].images

    @property
    @override
    def logits(self) -> Tensor:
        if self._logits is None:
            own = self._sessions[0].logits
            self._logits = self._combine(self._sessions) if len(own) else own
        return self._logits

    @property
    @override
    def waiting(self) -> int:
        return self._sessions[0].waiting

    @override
    def admit(self) -> list[int]:
        new = admit_in_lockstep(self._sessions)
        if new:
            self._logits = None
        return new

    @override
    def advance(self, tokens: Tensor, parents: Tensor) -> Tensor:
        for session in self._sessions:
            session.advance(tokens, parents)
        self._logits = None
        return self.logits

    @override
    def extend(self, tokens: Tensor, parents: Tensor, kept: Tensor | None = None) -> Tensor:
        for session in self._sessions:
            session.extend(tokens, parents, kept)
        self._logits = None
        return self.logits

    @override
    def hidden(self) -> tuple[Tensor, ...]:
        return self._sessions[0].hidden()

    @override
    def prefix_hidden(self) -> Tensor:
        return self._sessions[0].prefix_hidden()


def decode_changed(
    task: DecodingTask, lm: LanguageModel, decoder: Decoder
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Run a decoder on changed logits.

    Yields:
        Each image's number and hypotheses: `score` is the decoder's, by the changed logits,
        `logprob` the log-probability by the model itself.
    """
    decoded = decoder.decode(attrs.evolve(task, lm=lm))
    while group := list(islice(decoded, IMAGES)):
        flat = [(image, hypothesis) for image, hypotheses in group for hypothesis in hypotheses]
        logprobs = iter(own_logprobs(task, flat))
        for image, hypotheses in group:
            yield image, [attrs.evolve(h, logprob=next(logprobs)) for h in hypotheses]
