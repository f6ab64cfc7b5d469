"""Rules for language models and their sessions, with teacher forcing as the oracle."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.session import SessionOptions
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import digest as digest
from prefixcap.testing.rules.helpers import max_difference
from prefixcap.testing.rules.rule import BrokenRule, Rule, require, rule

TOLERANCE = 2e-3
STEPS = 5
lm_rule = partial(rule, of=Case.built)
"""Turn a function of the case's language model into a rule."""


def session_rule(name: str) -> Callable[[Callable[[LanguageModel], None]], Rule]:
    """Turn a function of the case's language model, run in inference mode, into a rule."""
    return lambda holds: lm_rule(name)(torch.inference_mode()(holds))


def prefixes(lm: LanguageModel, images: int = 3, length: int = 4) -> Tensor:
    """Draw prefixes (B,P,E) of the size of the model's own embeddings, the same each time."""
    stream = torch.Generator().manual_seed(3)
    ids = torch.randint(lm.vocab_size, (images, length), generator=stream)
    embedded = lm.embed(ids.to(device(lm))).detach().float()
    noise = torch.randn(embedded.shape, generator=stream).to(embedded.device)
    return embedded + 0.1 * embedded.std() * noise


def tokens(lm: LanguageModel, *shape: int) -> Tensor:
    """Draw token ids of a shape, the same each time."""
    stream = torch.Generator().manual_seed(4)
    return torch.randint(lm.vocab_size, shape, generator=stream).to(device(lm))


def device(lm: LanguageModel) -> torch.device:
    """Return the device of the model's parameters."""
    return lm.device


def forced(lm: LanguageModel, prefix: Tensor, ids: Tensor) -> Tensor:
    """Compute the logits (B,T,V) of texts (B,T) by teacher forcing."""
    with torch.inference_mode():
        return lm.teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool)).float()


def require_close(actual: Tensor, expected: Tensor, when: str, name: str = "the logits") -> None:
    """Require that two tensors have the same shape and nearly the same values."""
    shapes = tuple(actual.shape), tuple(expected.shape)
    require(shapes[0] == shapes[1], f"{when}, {name} have the shape {shapes[0]}, not {shapes[1]}")
    difference = max_difference(actual, expected)
    require(difference <= TOLERANCE, f"{when}, {name} differ by {difference:.2g}")


class TrackedSession:
    """A session on prefixes (B,P,E), and the text that each of its rows should have."""

    def __init__(self, lm: LanguageModel, prefix: Tensor, **options: Any) -> None:
        self.lm, self.prefix = lm, prefix
        self.session = lm.start(prefix, SessionOptions(**{"max_new_tokens": 8, **options}))
        self.rows: list[tuple[int, list[int]]] = []
        self._calls = 0

    def admit(self) -> list[int]:
        """Admit images."""
        new = self.session.admit()
        self.rows += [(image, []) for image in new]
        return new

    def advance(self, parents: Sequence[int]) -> Tensor:
        """Extend rows by one token each, with other tokens in every call."""
        new, index = self._tokens(len(parents)), self._index(parents)
        logits = self.session.advance(new, index)
        self.rows = self._extended(parents, new)
        return logits

    def extend(self, parents: Sequence[int], kept: Sequence[int] = ()) -> Tensor:
        """Extend rows by trees of tokens, and keep others."""
        new, index = self._tokens(len(parents)), self._index(parents)
        arguments = (new, index, self._index(kept)) if kept else (new, index)
        logits = self.session.extend(*arguments)
        self.rows = [self.rows[row] for row in kept] + self._extended(parents, new)
        return logits

    def check(self, logits: Tensor, when: str) -> None:
        """Require that the live rows have the right images, and the logits (R,V) of their texts."""
        images = [image for image, _ in self.rows]
        require(self.session.images == images, f"{when}, the images are {self.session.images}")
        # the logits after a text are at the position of its next token, whatever that is
        longest = max(len(text) for _, text in self.rows)
        ids = [[*text, *[0] * (longest + 1 - len(text))] for _, text in self.rows]
        by_position = forced(
            self.lm, self.prefix[images], torch.tensor(ids, device=self.prefix.device)
        )
        expected = [by_position[row, len(text)] for row, (_, text) in enumerate(self.rows)]
        require_close(logits, torch.stack(expected), when)
        require_close(self.session.logits, logits, when, "`logits` and what the call returned")

    def _tokens(self, count: int) -> Tensor:
        self._calls += 1
        return (tokens(self.lm, count) + self._calls) % self.lm.vocab_size

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows, device=device(self.lm)).long()

    def _extended(self, parents: Sequence[int], new: Tensor) -> list[tuple[int, list[int]]]:
        rows = list(self.rows)
        for parent, token in zip(parents, new.tolist(), strict=True):
            image, text = rows[parent]
            rows.append((image, [*text, token]))
        return rows[len(self.rows) :]


def opened(lm: LanguageModel, prefix: Tensor, **options: Any) -> TrackedSession:
    """Open a session and admit all images."""
    tracked = TrackedSession(lm, prefix, **options)
    new = tracked.admit()
    require(new == list(range(len(prefix))), f"without a limit on rows, {new} were admitted")
    return tracked


@lm_rule("sizes")
def sizes(lm: LanguageModel) -> None:
    """`width`, `vocab_size` and `eos_id` match the embeddings and the logits."""
    embedded = lm.embed(tokens(lm, 2, 3))
    expected = (2, 3, lm.width)
    require(embedded.shape == expected, f"embed returns {tuple(embedded.shape)}, not {expected}")
    logits = forced(lm, prefixes(lm), tokens(lm, 3, 2))
    expected = (3, 2, lm.vocab_size)
    require(logits.shape == expected, f"the logits are {tuple(logits.shape)}, not {expected}")
    require(bool(logits.isfinite().all()), "a logit is not finite")
    require(lm.eos_id is None or 0 <= lm.eos_id < lm.vocab_size, f"eos_id is {lm.eos_id}")
    require(lm.max_positions is None or lm.max_positions > 1, f"{lm.max_positions} positions")


@lm_rule("padding")
def padding(lm: LanguageModel) -> None:
    """A padded text has the same logits as alone, whatever the padding contains."""
    prefix, ids = prefixes(lm), tokens(lm, 3, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], device=ids.device).bool()
    other = torch.where(mask, ids, (ids + 1) % lm.vocab_size)
    with torch.inference_mode():
        one, two = (lm.teacher_forced(prefix, x, mask) for x in (ids, other))
    require_close(one[mask], two[mask], "with other padding")
    for i, length in enumerate(mask.sum(-1).tolist()):
        alone = forced(lm, prefix[i : i + 1], ids[i : i + 1, :length])
        require_close(one[i : i + 1, :length], alone, f"with text {i} padded and alone")


@lm_rule("teacher-forced-alone")
def teacher_forced_alone(lm: LanguageModel) -> None:
    """A text has the same logits alone, in a batch, and when computed again."""
    prefix, ids = prefixes(lm), tokens(lm, 3, 4)
    together = forced(lm, prefix, ids)
    require_close(together, forced(lm, prefix, ids), "a second time")
    for i in range(3):
        alone = forced(lm, prefix[i : i + 1], ids[i : i + 1])
        require_close(together[i : i + 1], alone, f"with text {i} alone")


@lm_rule("gradient")
def gradient(lm: LanguageModel) -> None:
    """Teacher forcing passes gradients to the prefix, so that a mapper can be trained."""
    prefix = prefixes(lm).clone().requires_grad_()
    ids = tokens(lm, 3, 3)
    logits = lm.teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool))
    require(logits.requires_grad, "the logits do not depend on the prefix")
    (grad,) = torch.autograd.grad(logits.float().logsumexp(-1).sum(), prefix)
    require(bool(grad.isfinite().all() and grad.abs().sum() > 0), "the gradient is 0 or not finite")


@lm_rule("caption-loss")
def caption_loss(lm: LanguageModel) -> None:
    """Captions that share a prefix have the loss and gradient of teacher forcing of each alone."""
    prefix, ids = prefixes(lm)[:2].clone().requires_grad_(), tokens(lm, 3, 4)
    images = torch.tensor([0, 0, 1], device=ids.device)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]], device=ids.device).bool()
    loss = lm.caption_loss(prefix, images, ids, mask)
    apart = LanguageModel.caption_loss(lm, prefix, images, ids, mask)
    require_close(loss.detach()[None], apart.detach()[None], "together and apart", "the losses")
    if apart.requires_grad:  # the rule `gradient` requires it
        ours, theirs = (torch.autograd.grad(each, prefix)[0] for each in (loss, apart))
        scale = theirs.abs().max().clamp(min=1e-30)
        require_close(ours / scale, theirs / scale, "together and apart", "the gradients")


@session_rule("steps")
def steps(lm: LanguageModel) -> None:
    """A session gives the same logits, token by token, as teacher forcing."""
    tracked = opened(lm, prefixes(lm))
    logits = tracked.session.logits
    require(logits.dtype == torch.float32, f"the logits are {logits.dtype}")
    for step in range(STEPS):
        tracked.check(logits, f"at step {step + 1}")
        logits = tracked.advance(range(3))


@session_rule("rows")
def rows(lm: LanguageModel) -> None:
    """Rows can be repeated, dropped and reordered; each keeps its own past."""
    tracked = opened(lm, prefixes(lm), rows_per_image=4)
    for plan in ([0, 0, 1, 2, 2, 2], [5, 0, 3, 3], [1, 1, 0, 2], [3, 1], [1, 0, 0, 1], [2]):
        tracked.check(tracked.advance(plan), f"after rows {plan}")


@session_rule("token-trees")
def token_trees(lm: LanguageModel) -> None:
    """Trees of several tokens can be added in one call; every new row gets its own logits."""
    tracked = opened(lm, prefixes(lm), rows_per_image=4)
    # two texts that differ after a token, one of three tokens and one of one; then more
    for plan in ([0, 3, 3, 1, 6, 7, 2], [1, 7, 8, 4, 0]):
        tracked.check(tracked.extend(plan), f"after the trees {plan}")


@session_rule("kept-rows")
def kept_rows(lm: LanguageModel) -> None:
    """Rows can be kept unchanged while others are extended, and be continued later."""
    plans = (((1, 0), (2, 0)), ((3, 0, 1), (0,)), ((), (2, 1)), ((1,), (0, 1)))
    tracked = opened(lm, prefixes(lm), rows_per_image=4)
    for plan, kept in plans:
        tracked.check(tracked.extend(plan, kept), f"with rows {kept} kept")


@session_rule("admission")
def admission(lm: LanguageModel) -> None:
    """Images are admitted once each, in order, while their rows fit; all rows keep their logits."""
    prefix = prefixes(lm, 5)
    admitted: list[int] = []
    tracked = TrackedSession(lm, prefix, rows_per_image=2, max_rows=4, max_new_tokens=STEPS)
    session = tracked.session
    require(session.images == [] and session.waiting == 5, "rows are live at the start")
    for step in range(3 * len(prefix)):
        new = tracked.admit()
        admitted += new
        live = session.images
        require(live[len(live) - len(new) :] == new, f"{new} are not the last of {live}")
        require(2 * len(set(live)) <= 4, f"{live} are too many images for four rows")
        if not live:
            break
        tracked.check(session.logits, f"after {new} were admitted")
        # drop the oldest row, but not the first time, so that rows of different ages are live
        logits = tracked.advance(range(1 if step else 0, len(live)))
        if tracked.rows:
            tracked.check(logits, f"beside {new}, extended")
    require(admitted == list(range(5)) and session.waiting == 0, f"the images came as {admitted}")


@session_rule("no-rows")
def no_rows(lm: LanguageModel) -> None:
    """All rows can be dropped at once."""
    tracked = opened(lm, prefixes(lm))
    logits = tracked.advance([])
    require(logits.shape == (0, lm.vocab_size), f"no rows have logits {tuple(logits.shape)}")
    images = tracked.session.images
    require(images == [], f"after all rows were dropped, {images} are live")


@session_rule("two-sessions")
def two_sessions(lm: LanguageModel) -> None:
    """Two sessions on one model do not affect each other."""
    prefix = prefixes(lm)
    pair = [opened(lm, each) for each in (prefix, prefix.flip(0))]
    for step in range(1, STEPS):
        for tracked in pair:
            tracked.check(tracked.advance(range(3)), f"with two sessions, at step {step}")


@session_rule("hidden-states")
def hidden_states(lm: LanguageModel) -> None:
    """A session gives each row's hidden states (R,E) by layer, only if it was opened for them."""
    prefix = prefixes(lm)
    tracked = opened(lm, prefix, rows_per_image=2, hidden_states=True)
    for plan in ([0, 2], [1, 0, 1]):
        tracked.advance(plan)
        layers = tracked.session.hidden()
        require(len(layers) > 1, f"{len(layers)} layers have hidden states")
        for layer in layers:
            shape = tuple(layer.shape)
            require(shape[:-1] == (len(plan),), f"{len(plan)} rows have hidden states {shape}")
        for row, (image, text) in enumerate(tracked.rows):
            alone = _hidden_alone(lm, prefix[image : image + 1], text)
            require(len(alone) == len(layers), f"{len(layers)} layers, but {len(alone)} alone")
            for number, (actual, expected) in enumerate(zip(layers, alone, strict=True)):
                when = f"for row {row} after rows {plan}, in layer {number}"
                require_close(actual[row : row + 1], expected, when, "the hidden states")
    _require_refused(opened(lm, prefix).session.hidden)


@session_rule("prefix-hidden-states")
def prefix_hidden_states(lm: LanguageModel) -> None:
    """The prefixes admitted last have hidden states (b,P,E); the last position's are the row's."""
    prefix = prefixes(lm, 4)
    together = opened(lm, prefix, hidden_states=True).session.prefix_hidden()
    expected = (*prefix.shape[:2], together.shape[-1])
    require(together.shape == expected, f"they are {tuple(together.shape)}, not {expected}")
    tracked = TrackedSession(lm, prefix, max_rows=2, hidden_states=True)
    for _ in range(len(prefix)):
        if not (new := tracked.admit()):
            break
        states = tracked.session.prefix_hidden()
        require_close(states, together[new], f"for images {new}", "the hidden states")
        last = tracked.session.hidden()[-1][-len(new) :]
        require_close(states[:, -1], last, "at the last position", "the hidden states")
        tracked.advance([])
    _require_refused(opened(lm, prefix).session.prefix_hidden)


@rule("tokenizer")
def tokenizer(case: Case) -> str | None:
    """Encoding and decoding restores texts, without special tokens or ids that are too large."""
    lm: LanguageModel = case.built()
    if lm.tokenizer is None:
        return "it has no tokenizer"
    empty = lm.tokenizer.encode("")
    require(list(empty) == [], f"an empty text becomes {empty}, not []")
    for text in case.texts:
        ids = lm.tokenizer.encode(text)
        known = f"the model has {lm.vocab_size}"
        require(all(0 <= i < lm.vocab_size for i in ids), f"{text!r} becomes {ids}; {known}")
        require(lm.eos_id not in ids, f"{text!r} becomes {ids}, with the end token {lm.eos_id}")
        restored = lm.tokenizer.decode(ids).strip()
        require(restored == text, f"{text!r} becomes {restored!r}")
    if lm.eos_id is not None:
        end = lm.tokenizer.decode([lm.eos_id])
        require(end == "", f"the end token is decoded as {end!r}")
    return None


@lm_rule("deep-copy")  # the last rule, as it changes models that share weights with their copies
def deep_copy(lm: LanguageModel) -> None:
    """A deep copy has its own weights in `module`, which determine its logits and its digest."""
    prefix, ids = prefixes(lm), tokens(lm, 3, 3)
    before, digest_before = forced(lm, prefix, ids), lm.digest()
    twin = copy.deepcopy(lm)
    require_close(forced(twin, prefix, ids), before, "in a deep copy")
    require(twin.digest() == digest_before, "a deep copy has another digest")
    stream = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in twin.module.parameters():
            noise = torch.randn(parameter.shape, generator=stream).to(parameter)
            parameter.add_(noise * max(0.1, parameter.abs().mean().item()))
    require_close(forced(lm, prefix, ids), before, "after changing a copy's weights")
    require(lm.digest() == digest_before, "the digest changes with a copy's weights")
    difference = max_difference(forced(twin, prefix, ids), before)
    require(difference > TOLERANCE, "changing all parameters of `module` leaves the logits as is")
    require(twin.digest() != digest_before, "with other weights, the digest is the same")
    with torch.inference_mode():
        tracked = opened(twin, prefix)
        tracked.check(tracked.session.logits, "in a session of the changed copy")


def _hidden_alone(lm: LanguageModel, prefix: Tensor, text: Sequence[int]) -> tuple[Tensor, ...]:
    session = opened(lm, prefix, hidden_states=True).session
    for token in text:
        new = torch.tensor([token], device=device(lm))
        session.advance(new, torch.zeros_like(new))
    return session.hidden()


def _require_refused(read: Callable[[], object]) -> None:
    try:
        read()
    except RuntimeError:
        return
    raise BrokenRule("a session that was not opened for hidden states gives some")
