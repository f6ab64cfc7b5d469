"""Rules for language models and their sessions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.session import Session, SessionOptions
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import apart, same_digest
from prefixcap.testing.rules.rule import BrokenRule, require, rule

TOLERANCE = 2e-3
STEPS = 5


def model(case: Case) -> LanguageModel:
    """Returns the case's language model, built once."""
    return cast(LanguageModel, case.built())


def prefixes(lm: LanguageModel, images: int = 3, length: int = 4) -> Tensor:
    """Draws prefixes (B,P,E) of the size of the model's own embeddings."""
    stream = torch.Generator().manual_seed(3)
    ids = torch.randint(lm.vocab_size, (images, length), generator=stream)
    own = lm.embed(ids.to(device(lm))).detach().float()
    noise = torch.randn(own.shape, generator=stream).to(own.device)
    return own + 0.1 * own.std() * noise


def tokens(lm: LanguageModel, *shape: int) -> Tensor:
    """Draws token ids of a shape, the same ones each time."""
    stream = torch.Generator().manual_seed(4)
    return torch.randint(lm.vocab_size, shape, generator=stream).to(device(lm))


def device(lm: LanguageModel) -> torch.device:
    """Returns the device of the model's parameters."""
    return next(lm.module.parameters()).device


def forced(lm: LanguageModel, prefix: Tensor, ids: Tensor) -> Tensor:
    """Computes the logits (B,T,V) of whole texts (B,T), as the oracle for sessions."""
    with torch.inference_mode():
        return lm.teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool)).float()


def close(ours: Tensor, theirs: Tensor, what: str, of: str = "the logits") -> None:
    """Requires that two tensors are of one shape and near each other."""
    require(ours.shape == theirs.shape, f"{what}: {tuple(ours.shape)}, not {tuple(theirs.shape)}")
    far = apart(ours, theirs)
    require(far <= TOLERANCE, f"{what}: {of} differ by {far:.2g}")


@rule("sizes")
def sizes(case: Case) -> None:
    """The model's sizes are true: E of its embeddings, V of its logits, its end token in V."""
    lm = model(case)
    embedded = lm.embed(tokens(lm, 2, 3))
    right = (2, 3, lm.width)
    require(embedded.shape == right, f"embed gives {tuple(embedded.shape)}, not {right}")
    logits = forced(lm, prefixes(lm), tokens(lm, 3, 2))
    right = (3, 2, lm.vocab_size)
    require(logits.shape == right, f"the logits are {tuple(logits.shape)}, not {right}")
    require(bool(logits.isfinite().all()), "a logit is not finite")
    require(lm.eos_id is None or 0 <= lm.eos_id < lm.vocab_size, f"the end token is {lm.eos_id}")
    require(lm.max_positions is None or lm.max_positions > 1, f"{lm.max_positions} positions")


@rule("padding")
def padding(case: Case) -> None:
    """A padded text has the logits that it has alone, whatever stands in the padding."""
    lm = model(case)
    prefix, ids = prefixes(lm), tokens(lm, 3, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], device=ids.device).bool()
    other = torch.where(mask, ids, (ids + 1) % lm.vocab_size)
    with torch.inference_mode():
        one, two = (lm.teacher_forced(prefix, x, mask) for x in (ids, other))
    close(one[mask], two[mask], "other padding")
    for i, length in enumerate(mask.sum(-1).tolist()):
        alone = forced(lm, prefix[i : i + 1], ids[i : i + 1, :length])
        close(one[i : i + 1, :length], alone, f"text {i}, padded, against itself alone")


@rule("teacher-forced-alone")
def teacher_forced_alone(case: Case) -> None:
    """A text has the logits in a batch that it has alone, and the same ones a second time."""
    lm = model(case)
    prefix, ids = prefixes(lm), tokens(lm, 3, 4)
    together = forced(lm, prefix, ids)
    close(together, forced(lm, prefix, ids), "a second time")
    for i in range(3):
        close(together[i : i + 1], forced(lm, prefix[i : i + 1], ids[i : i + 1]), f"text {i} alone")


@rule("gradient")
def gradient(case: Case) -> None:
    """Teacher forcing passes gradients to the prefix, so that a mapper can be trained."""
    lm = model(case)
    prefix = prefixes(lm).clone().requires_grad_()
    ids = tokens(lm, 3, 3)
    logits = lm.teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool))
    require(logits.requires_grad, "the logits do not depend on the prefix")
    (found,) = torch.autograd.grad(logits.float().logsumexp(-1).sum(), prefix)
    require(bool(found.isfinite().all() and found.abs().sum() > 0), "the gradient is zero or worse")


@rule("copies")
def copies(case: Case) -> None:
    """A deep copy has weights of its own in `module`; they decide its logits and its digest."""
    lm = model(case)
    prefix, ids = prefixes(lm), tokens(lm, 3, 3)
    before, digest_before = forced(lm, prefix, ids), lm.digest()
    twin = copy.deepcopy(lm)
    close(forced(twin, prefix, ids), before, "a deep copy")
    require(twin.digest() == digest_before, "a deep copy has another digest")
    stream = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in twin.module.parameters():
            noise = torch.randn(parameter.shape, generator=stream).to(parameter)
            parameter.add_(noise * max(0.1, parameter.abs().mean().item()))
    close(forced(lm, prefix, ids), before, "after its copy's weights were changed, of the original")
    require(lm.digest() == digest_before, "the digest changes with a copy's weights")
    far = apart(forced(twin, prefix, ids), before)
    require(far > TOLERANCE, "with all parameters of `module` changed, the logits stay as they are")
    require(twin.digest() != digest_before, "with other weights, the digest is the same")
    with torch.inference_mode():
        session = _all_admitted(twin, prefix)
        first = forced(twin, prefix, ids)[:, 0]
        close(session.logits, first, "a session of the changed copy")


@rule("steps")
def steps(case: Case) -> None:
    """A session, token by token, gives the logits of teacher forcing."""
    lm = model(case)
    prefix, ids = prefixes(lm), tokens(lm, 3, STEPS)
    whole = forced(lm, prefix, ids)
    with torch.inference_mode():
        session = _all_admitted(lm, prefix)
        require(session.logits.dtype == torch.float32, f"the logits are {session.logits.dtype}")
        close(session.logits, whole[:, 0], "at the first step")
        for t in range(1, STEPS):
            found = session.advance(ids[:, t - 1], torch.arange(3, device=ids.device))
            close(found, whole[:, t], f"at step {t + 1}")
            close(session.logits, found, f"`logits` against `advance` at step {t + 1}")


@rule("rows")
def rows(case: Case) -> None:
    """Rows may be repeated, dropped and reordered; each keeps its own past."""
    lm, prefix = model(case), prefixes(model(case))
    plans = [[0, 0, 1, 2, 2, 2], [5, 0, 3, 3], [1, 1, 0, 2], [3, 1], [1, 0, 0, 1], [2]]
    texts: list[tuple[int, list[int]]] = [(0, []), (1, []), (2, [])]
    with torch.inference_mode():
        session = _all_admitted(lm, prefix, rows_per_image=4)
        for number, plan in enumerate(plans):
            new = (tokens(lm, len(plan)) + number) % lm.vocab_size
            parents = torch.tensor(plan, device=new.device)
            texts = [
                (texts[parent][0], [*texts[parent][1], token])
                for parent, token in zip(plan, new.tolist(), strict=True)
            ]
            found = session.advance(new, parents)
            images = [image for image, _ in texts]
            require(session.images == images, f"the rows' images are {session.images}")
            # one token more, because the logits after a text are those of its next token
            ids = torch.tensor([[*text, 0] for _, text in texts], device=new.device)
            close(found, forced(lm, prefix[images], ids)[:, -1], f"after rows {plan}")


@rule("texts-at-once")
def texts_at_once(case: Case) -> None:
    """Trees of several tokens go in at once, and every row on the way gets its own logits."""
    lm, prefix = model(case), prefixes(model(case))
    # two texts that part after a token, one of three tokens, and one of one; then from half-way
    plans = [[0, 3, 3, 1, 6, 7, 2], [1, 7, 8, 4, 0]]
    with torch.inference_mode():
        session = _all_admitted(lm, prefix, rows_per_image=4)
        texts: list[tuple[int, list[int]]] = [(0, []), (1, []), (2, [])]
        for number, plan in enumerate(plans):
            new = (tokens(lm, len(plan)) + number) % lm.vocab_size
            found = session.extend(new, torch.tensor(plan, device=new.device))
            texts = _extended(texts, plan, new.tolist())[len(texts) :]
            _texts_are(session, found, texts, lm, prefix, f"after the trees {plan}")


@rule("kept-rows")
def kept_rows(case: Case) -> None:
    """Rows stay as they are beside those that are extended, and can be gone on from later."""
    lm, prefix = model(case), prefixes(model(case))
    plans: list[tuple[list[int], list[int]]] = [
        ([1, 0], [2, 0]),
        ([3, 0, 1], [0]),
        ([], [2, 1]),
        ([1], [0, 1]),
    ]
    with torch.inference_mode():
        session = _all_admitted(lm, prefix, rows_per_image=4)
        texts: list[tuple[int, list[int]]] = [(0, []), (1, []), (2, [])]
        for number, (plan, kept) in enumerate(plans):
            new = (tokens(lm, len(plan)) + number) % lm.vocab_size
            index = [torch.tensor(rows, device=new.device).long() for rows in (plan, kept)]
            found = session.extend(new, *index)
            longer = _extended(texts, plan, new.tolist())[len(texts) :]
            texts = [texts[row] for row in kept] + longer
            _texts_are(session, found, texts, lm, prefix, f"with rows {kept} kept")


@rule("admission")
def admission(case: Case) -> None:
    """Images come in once each, in order, while their rows fit; all rows keep their own logits."""
    lm, prefix = model(case), prefixes(model(case), 5)
    came: list[int] = []
    texts: list[tuple[int, list[int]]] = []
    with torch.inference_mode():
        options = SessionOptions(rows_per_image=2, max_rows=4, max_new_tokens=STEPS)
        session = lm.start(prefix, options)
        require(session.images == [] and session.waiting == 5, "rows were live from the start")
        for step in range(3 * len(prefix)):
            new = session.admit()
            came += new
            live = session.images
            require(live[len(live) - len(new) :] == new, f"{new} are not the last of {live}")
            require(2 * len(set(live)) <= 4, f"{live} are too many images for four rows")
            if not live:
                break
            texts += [(image, []) for image in new]
            _texts_are(session, session.logits, texts, lm, prefix, f"after {new} were admitted")
            # the oldest row ends, unless it was alone: rows of different ages stay side by side
            going = list(range(1 if step else 0, len(live)))
            tail = (tokens(lm, len(live)) + step)[going] % lm.vocab_size
            found = session.advance(tail, torch.tensor(going, device=tail.device).long())
            texts = [
                (texts[row][0], [*texts[row][1], token])
                for row, token in zip(going, tail.tolist(), strict=True)
            ]
            if texts:
                _texts_are(session, found, texts, lm, prefix, f"beside {new}, extended")
    require(came == list(range(5)) and session.waiting == 0, f"the images came as {came}")


@rule("no-rows")
def no_rows(case: Case) -> None:
    """All rows may be dropped at once."""
    lm = model(case)
    with torch.inference_mode():
        session = _all_admitted(lm, prefixes(lm))
        none = tokens(lm, 0)
        found = session.advance(none, none)
    require(found.shape == (0, lm.vocab_size), f"no rows have logits {tuple(found.shape)}")
    require(session.images == [], f"after all rows were dropped, {session.images} are live")


@rule("two-sessions")
def two_sessions(case: Case) -> None:
    """Two sessions of one model do not disturb each other."""
    lm = model(case)
    prefix, ids = prefixes(lm), tokens(lm, 3, STEPS)
    pair = (prefix, prefix.flip(0))
    whole = [forced(lm, each, ids) for each in pair]
    with torch.inference_mode():
        sessions = [_all_admitted(lm, each) for each in pair]
        for t in range(1, STEPS):
            for session, right in zip(sessions, whole, strict=True):
                found = session.advance(ids[:, t - 1], torch.arange(3, device=ids.device))
                close(found, right[:, t], f"two sessions, step {t + 1}")


@rule("hidden-states")
def hidden_states(case: Case) -> None:
    """A session gives its rows' hidden states (R,E), by layer, when opened for it and only then."""
    lm, prefix = model(case), prefixes(model(case))
    plans = [[0, 2], [1, 0, 1]]
    texts: list[tuple[int, list[int]]] = [(0, []), (1, []), (2, [])]
    with torch.inference_mode():
        session = _all_admitted(lm, prefix, rows_per_image=2, hidden=True)
        for number, plan in enumerate(plans):
            new = (tokens(lm, len(plan)) + number) % lm.vocab_size
            session.advance(new, torch.tensor(plan, device=new.device))
            texts = _extended(texts, plan, new.tolist())[len(texts) :]
            layers = session.hidden()
            require(len(layers) > 1, f"{len(layers)} layers have hidden states")
            for layer in layers:
                good = layer.ndim == 2 and len(layer) == len(plan)
                require(good, f"{len(plan)} rows have hidden states {tuple(layer.shape)}")
            for row, (image, text) in enumerate(texts):
                alone = _hidden_alone(lm, prefix[image : image + 1], text)
                require(len(alone) == len(layers), f"{len(alone)} layers, and then {len(layers)}")
                for number_of_layer, (ours, right) in enumerate(zip(layers, alone, strict=True)):
                    what = f"row {row} after rows {plan}, layer {number_of_layer}"
                    close(ours[row : row + 1], right, what, "the hidden states")
        other = _all_admitted(lm, prefix)
        try:
            other.hidden()
        except RuntimeError:
            return
    raise BrokenRule("a session that was not opened for hidden states gives some")


@rule("prefix-hidden-states")
def prefix_hidden_states(case: Case) -> None:
    """Each prefix that came in last has hidden states, a position each, the last one its row's."""
    lm = model(case)
    prefix = prefixes(lm, 4)
    with torch.inference_mode():
        whole = _all_admitted(lm, prefix, hidden=True).prefix_hidden()
        right = (*prefix.shape[:2], whole.shape[-1])
        require(whole.shape == right, f"they are {tuple(whole.shape)}, not {right}")
        session = lm.start(prefix, SessionOptions(max_rows=2, hidden_states=True))
        for _ in range(len(prefix)):
            if not (new := session.admit()):
                break
            own = session.prefix_hidden()
            close(own, whole[new], f"those of images {new}", "the hidden states")
            last = session.hidden()[-1][-len(new) :]
            close(own[:, -1], last, "the last position", "the hidden states")
            none = tokens(lm, 0)
            session.advance(none, none)
        try:
            _all_admitted(lm, prefix).prefix_hidden()
        except RuntimeError:
            return
    raise BrokenRule("a session that was not opened for hidden states gives those of the prefix")


@rule("tokenizer")
def tokenizer(case: Case) -> str | None:
    """The tokenizer gives texts back, in tokens that the model has, without special ones."""
    lm = model(case)
    if lm.tokenizer is None:
        return "it has no tokenizer"
    nothing = lm.tokenizer.encode("")
    require(list(nothing) == [], f"no text at all becomes {nothing}, not []")
    for text in case.texts:
        ids = lm.tokenizer.encode(text)
        known = f"the model has {lm.vocab_size}"
        require(all(0 <= i < lm.vocab_size for i in ids), f"{text!r} becomes {ids}; {known}")
        require(lm.eos_id not in ids, f"{text!r} becomes {ids}, with the end token {lm.eos_id}")
        back = lm.tokenizer.decode(ids).strip()
        require(back == text, f"{text!r} comes back as {back!r}")
    if lm.eos_id is not None:
        end = lm.tokenizer.decode([lm.eos_id])
        require(end == "", f"the end token is written as {end!r}")
    return None


@rule("digest")
def digest(case: Case) -> None:
    """The digest is the same for a model that is built again."""
    same_digest(case)


def _all_admitted(
    lm: LanguageModel, prefix: Tensor, rows_per_image: int = 1, hidden: bool = False
) -> Session:
    options = SessionOptions(rows_per_image=rows_per_image, max_new_tokens=8, hidden_states=hidden)
    session = lm.start(prefix, options)
    new = session.admit()
    require(new == list(range(len(prefix))), f"with no limit on rows, {new} came in")
    return session


def _hidden_alone(lm: LanguageModel, prefix: Tensor, text: Sequence[int]) -> tuple[Tensor, ...]:
    session = _all_admitted(lm, prefix, hidden=True)
    for token in text:
        new = torch.tensor([token], device=device(lm))
        session.advance(new, torch.zeros_like(new))
    return session.hidden()


def _extended(
    texts: Sequence[tuple[int, list[int]]], parents: Sequence[int], new: Sequence[int]
) -> list[tuple[int, list[int]]]:
    found = list(texts)
    for parent, token in zip(parents, new, strict=True):
        image, text = found[parent]
        found.append((image, [*text, token]))
    return found


def _texts_are(
    session: Session,
    found: Tensor,
    texts: Sequence[tuple[int, list[int]]],
    lm: LanguageModel,
    prefix: Tensor,
    when: str,
) -> None:
    images = [image for image, _ in texts]
    require(session.images == images, f"{when} the rows' images are {session.images}")
    longest = max(len(text) for _, text in texts)
    # the logits after a text are those of its next token, whatever that and its followers are
    ids = [[*text, *[0] * (longest + 1 - len(text))] for _, text in texts]
    whole = forced(lm, prefix[images], torch.tensor(ids, device=found.device))
    right = [whole[row, len(text)] for row, (_, text) in enumerate(texts)]
    close(found, torch.stack(right), when)
    close(session.logits, found, f"`logits` {when}")


RULES = (
    sizes,
    padding,
    teacher_forced_alone,
    gradient,
    steps,
    rows,
    texts_at_once,
    kept_rows,
    admission,
    no_rows,
    two_sessions,
    hidden_states,
    prefix_hidden_states,
    tokenizer,
    digest,
    copies,  # last, as it changes a model that shares its weights with its copies
)
