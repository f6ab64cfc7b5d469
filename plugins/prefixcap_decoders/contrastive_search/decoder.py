"""Contrastive search over all live images at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs
import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from prefixcap.decoding.live_images import LiveImages, is_stop
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap.interfaces.session import Session
from prefixcap_decoders.contrastive_search.config import Contrastive
from prefixcap_decoders.logits.processors import Transforms, build_processors

Guide = Callable[["ContrastiveState", Tensor, Tensor], Tensor]


class ContrastiveSearch(Decoder):
    """Extends every image by each of its most likely tokens and keeps the row of the best.

    The candidates' rows are the next step's parents, so a step runs the model once.

    Args:
        config: Settings.
        guide: Returns what is added to the values (M,C) of candidates, given the live images, the
            candidates (M,C) and which of them are allowed (M,C).
    """

    def __init__(self, config: Contrastive, guide: Guide | None = None) -> None:
        self.config = config
        self.guide = guide

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        transforms = Transforms(build_processors(self.config, task))
        session = task.start(min(self.config.top_k, task.lm.vocab_size), hidden_states=True)
        live: ContrastiveState | None = None
        while (new := session.admit()) or live is not None:
            if new:
                fresh = ContrastiveState.start(
                    session, new, task.max_new_tokens, self.config.context
                )
                live = fresh if live is None else live.join(fresh)
            assert live is not None
            tokens = self._extend(session, live, transforms)
            done = is_stop(tokens, task.stop_ids) | (live.lengths >= task.max_new_tokens)
            if not done.any():
                continue
            for slot in done.nonzero().squeeze(1).tolist():
                text = live.texts[slot, : int(live.lengths[slot])].tolist()
                hypothesis = task.hypothesis(text, float(live.logprobs[slot]))
                yield live.images[slot], [hypothesis] * (task.n or 1)
            live = None if done.all() else live.select(~done)
            if live is None and session.waiting:
                session.advance(tokens[:0], tokens[:0])

    def _extend(self, session: Session, live: ContrastiveState, transforms: Transforms) -> Tensor:
        """Extend every live image by its best token; return these tokens (M)."""
        logits = session.logits[live.rows]
        scores = transforms(logits, live.texts, live.lengths)
        count = min(self.config.top_k, scores.shape[1])
        probabilities, tokens = scores.softmax(-1).topk(count)  # (M, C)
        session.advance(tokens.flatten(), live.rows.repeat_interleave(count))
        hidden = normalize(session.hidden()[-1].float(), dim=-1)
        hidden = hidden.view(*tokens.shape, -1)  # (M * C, E) -> (M, C, E)
        similarity = live.similarity(hidden)
        alpha = self.config.alpha
        value = (1 - alpha) * probabilities - alpha * similarity
        # an excluded token has probability 0 and must not win by being dissimilar
        allowed = probabilities > 0
        if self.guide is not None:
            value = value + self.guide(live, tokens, allowed)
        best = value.masked_fill(~allowed, -torch.inf).argmax(-1, keepdim=True)
        chosen = tokens.gather(1, best).squeeze(1)
        logprobs = logits.gather(1, chosen[:, None]).squeeze(1) - logits.logsumexp(-1)
        slots = torch.arange(len(chosen), device=chosen.device)
        best = best.squeeze(1)
        live.append(chosen, logprobs, hidden[slots, best], slots * count + best)
        return chosen


@attrs.define(eq=False)
class ContrastiveState(LiveImages):
    """The captions of the M live images."""

    rows: Tensor  # (M), session row of each image
    lengths: Tensor  # (M), number of tokens of each caption
    logprobs: Tensor  # (M), log-probability by the model itself
    texts: Tensor  # (M,T), tokens
    context: Tensor  # (M,K+T,E), unit hidden states of K prefix positions and of the tokens

    @classmethod
    def start(
        cls, session: Session, images: Sequence[int], limit: int, positions: str
    ) -> ContrastiveState:
        """Return the state of new images, whose rows are the session's last."""
        count, logits = len(images), session.logits
        prefix = normalize(session.prefix_hidden().float(), dim=-1)  # (M, P, E)
        length = {"prefix": prefix.shape[1], "last": 1, "caption": 0}[positions]
        context = prefix.new_zeros(count, length + limit, prefix.shape[2])  # (M, K + T, E)
        context[:, :length] = prefix[:, prefix.shape[1] - length :]
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
        """The number of filled positions (M) of each context."""
        return self.lengths + self.context.shape[1] - self.texts.shape[1]

    def similarity(self, hidden: Tensor) -> Tensor:
        """Return the maximum cosine similarity (M,C) of states (M,C,E) to their context."""
        cosines = torch.einsum("mce,mle->mcl", hidden, self.context)  # (M, C, K + T)
        empty = torch.arange(cosines.shape[2], device=cosines.device) >= self.ends[:, None]
        maximum = cosines.masked_fill(empty[:, None], -torch.inf).amax(-1)
        # no penalty while the context is empty
        return torch.where(self.ends[:, None] > 0, maximum, 0.0)

    def append(self, tokens: Tensor, logprobs: Tensor, hidden: Tensor, rows: Tensor) -> None:
        """Append a token (M) with its log-probability (M), hidden state (M,E) and row (M)."""
        place = self.ends[:, None, None].expand(-1, 1, hidden.shape[1])
        self.context.scatter_(1, place, hidden[:, None])
        self.texts.scatter_(1, self.lengths[:, None], tokens[:, None])
        self.lengths = self.lengths + 1
        self.logprobs = self.logprobs + logprobs
        self.rows = rows
