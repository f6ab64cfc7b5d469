"""Contrastive search over all live images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor
from torch.nn.functional import normalize

from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.session import Session
from prefixcap_decoders.contrastive_search.config import Contrastive
from prefixcap_decoders.logits.processors import Transforms, controls


class ContrastiveSearch(Decoder):
    """Extends every image by each of its likeliest tokens and keeps the row of the best.

    The candidates' rows are the next step's parents, so a step is one call of the model.
    """

    def __init__(self, config: Contrastive) -> None:
        self.config = config

    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields each image's caption as it ends."""
        transforms = Transforms(controls(self.config, task))
        session = task.start(min(self.config.top_k, task.lm.vocab_size), hidden_states=True)
        live: _Live | None = None
        while (new := session.admit()) or live is not None:
            if new:
                fresh = _Live.of(session, new, task.max_new_tokens, self.config.context)
                live = fresh if live is None else live.joined(fresh)
            assert live is not None
            tokens = self._extend(session, live, transforms)
            done = live.lengths >= task.max_new_tokens
            for stop in task.stop_ids:
                done |= tokens == stop
            for slot in done.nonzero().squeeze(1).tolist():
                text = live.texts[slot, : int(live.lengths[slot])].tolist()
                found = task.hypothesis(text, float(live.logprobs[slot]))
                yield live.images[slot], [found] * (task.n or 1)
            live = live.kept(~done)
            if live is None and session.waiting:
                nothing = tokens[:0]
                session.advance(nothing, nothing)

    def _extend(self, session: Session, live: _Live, transforms: Transforms) -> Tensor:
        # adds the best token (M) to every live image
        logits = session.logits[live.rows]
        scores = transforms(logits, live.texts, live.lengths)
        count = min(self.config.top_k, scores.shape[1])
        probabilities, tokens = scores.softmax(-1).topk(count)
        parents = live.rows.repeat_interleave(count)
        session.advance(tokens.flatten(), parents)
        hidden = normalize(session.hidden()[-1].float(), dim=-1).view(*tokens.shape, -1)
        alike = live.likeness(hidden)
        alpha = self.config.alpha
        # a forbidden token has no probability, and must not win by being unlike the rest
        value = (1 - alpha) * probabilities - alpha * alike
        best = value.masked_fill(probabilities == 0, -torch.inf).argmax(-1, keepdim=True)
        chosen = tokens.gather(1, best).squeeze(1)
        own = logits.gather(1, chosen[:, None]).squeeze(1) - logits.logsumexp(-1)
        slots = torch.arange(len(chosen), device=chosen.device)
        live.add(chosen, own, hidden[slots, best.squeeze(1)], slots * count + best.squeeze(1))
        return chosen


@attrs.define(eq=False)
class _Live:
    """The live images (M).

    Attributes:
        images: their numbers.
        rows: (M), each one's row in the session.
        lengths: (M), how many tokens each has.
        logprobs: (M), by the model itself.
        texts: (M,T), the tokens.
        context: (M,K+T,E), the unit hidden states of K positions of the prefix and of the tokens.
    """

    images: list[int]
    rows: Tensor
    lengths: Tensor
    logprobs: Tensor
    texts: Tensor
    context: Tensor

    @classmethod
    def of(cls, session: Session, images: Sequence[int], limit: int, which: str) -> _Live:
        """Makes new images, whose rows are the session's last."""
        count, logits = len(images), session.logits
        first = normalize(session.prefix_hidden().float(), dim=-1)
        kept = {"prefix": first.shape[1], "last": 1, "caption": 0}[which]
        context = first.new_zeros(count, kept + limit, first.shape[2])
        context[:, :kept] = first[:, first.shape[1] - kept :]
        zeros = torch.zeros(count, dtype=torch.long, device=logits.device)
        return cls(
            images=list(images),
            rows=torch.arange(len(logits) - count, len(logits), device=logits.device),
            lengths=zeros,
            logprobs=logits.new_zeros(count),
            texts=zeros[:, None].repeat(1, limit),
            context=context,
        )

    @property
    def ends(self) -> Tensor:
        """How many positions (M) of each context are there already."""
        return self.lengths + self.context.shape[1] - self.texts.shape[1]

    def likeness(self, hidden: Tensor) -> Tensor:
        """Computes each candidate's greatest cosine (M,K) with its context, of states (M,K,E)."""
        alike = torch.einsum("mke,mle->mkl", hidden, self.context)
        absent = torch.arange(alike.shape[2], device=alike.device) >= self.ends[:, None]
        greatest = alike.masked_fill(absent[:, None], -torch.inf).amax(-1)
        # where nothing stands before a token, nothing counts against it
        return torch.where(self.ends[:, None] > 0, greatest, 0.0)

    def add(self, tokens: Tensor, logprobs: Tensor, hidden: Tensor, rows: Tensor) -> None:
        """Adds a token (M), its log-probability (M), hidden state (M,E) and row (M)."""
        place = self.ends[:, None, None].expand(-1, 1, hidden.shape[1])
        self.context.scatter_(1, place, hidden[:, None])
        self.texts.scatter_(1, self.lengths[:, None], tokens[:, None])
        self.lengths = self.lengths + 1
        self.logprobs = self.logprobs + logprobs
        self.rows = rows

    def joined(self, other: _Live) -> _Live:
        """Returns these images and then the others."""
        pairs = zip(self._tensors(), other._tensors(), strict=True)
        return _Live(self.images + other.images, *(torch.cat(pair) for pair in pairs))

    def kept(self, mask: Tensor) -> _Live | None:
        """Returns the images of a mask (M), or None where there are none."""
        slots = mask.nonzero().squeeze(1)
        if not len(slots):
            return None
        if len(slots) == len(mask):
            return self
        images = [self.images[slot] for slot in slots.tolist()]
        return _Live(images, *(tensor[slots] for tensor in self._tensors()))

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.rows, self.lengths, self.logprobs, self.texts, self.context
