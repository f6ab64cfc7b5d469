"""Rules for decoders, tried on a language model whose every probability is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from prefixcap.decoding.decode import decode, iter_decode
from prefixcap.interfaces.decoder import DecoderConfig, Hypothesis
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import random_states, random_states_kept, seed_all
from prefixcap.testing.rules.rule import require, rule
from prefixcap.testing.table_lm import TableLM
from prefixcap.testing.word_encoder import WordsEncoder

Found = list[list[Hypothesis]]

IMAGES = 5
LIMIT = 6
SAME = 8
TOLERANCE = 1e-3
WIDTH = 3
"""D, of the features and of the encoder that compares captions with them."""


def prefixes(case: Case, images: int = IMAGES, length: int = 3) -> Tensor:
    """Draws prefixes (B,P,E), the same ones each time; an image's depends on its number alone."""
    width = case.language_model().width
    drawn = [
        torch.randn(length, width, generator=torch.Generator().manual_seed(7 + i))
        for i in range(images)
    ]
    return torch.stack(drawn) if drawn else torch.empty(0, length, width)


def settings(case: Case, numbers: Sequence[int], **changes: Any) -> dict[str, Any]:
    """Returns the arguments of `decode` for images of given numbers.

    An image's feature, as its prefix, depends on its number alone, not on its place among others.
    """
    lm = case.language_model()
    stop = lm.vocab_size - 1 if lm.eos_id is None else lm.eos_id
    firsts = torch.tensor(list(numbers), dtype=torch.float32).view(len(numbers), 1)
    features = 1 + WIDTH * firsts + torch.arange(WIDTH)
    return {
        "max_new_tokens": LIMIT,
        "stop_ids": (stop,),
        "image_ids": [f"image {number}" for number in numbers],
        "features": features,
        "encoder": WordsEncoder(WIDTH),
        **changes,
    }


def found(case: Case, numbers: Sequence[int] = range(IMAGES), **changes: Any) -> Found:
    """Decodes the images of given numbers, in that order."""
    prefix = prefixes(case, max(numbers) + 1)[list(numbers)]
    lm, config = case.language_model(), cast(DecoderConfig, case.config)
    return decode(lm, prefix, config, **settings(case, numbers, **changes))


def usual(case: Case) -> Found:
    """Decodes the usual images with the usual settings, once for all rules that ask for them."""
    return cast(Found, case.once("usual", lambda: found(case)))


def same(case: Case, ours: Found, theirs: Found, when: str) -> None:
    """Requires that images have the same captions, with the same scores, in the same order."""
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        for a, b in zip(one, other, strict=False):
            require(a.ids == b.ids, f"{when} image {number} has {b.ids} for {a.ids}")
            near = math.isclose(a.logprob, b.logprob, abs_tol=TOLERANCE)
            near = near and math.isclose(a.score, b.score, abs_tol=TOLERANCE)
            require(near, f"{when} the scores of image {number} are {b} for {a}")
        counts = f"{len(other)} captions, not {len(one)}"
        require(len(one) == len(other), f"{when} image {number} has {counts}")


@rule("every-image-once")
def every_image_once(case: Case) -> None:
    """Every image is given exactly once, with at least one caption."""
    prefix, config = prefixes(case), cast(DecoderConfig, case.config)
    given = list(
        iter_decode(case.language_model(), prefix, config, **settings(case, range(IMAGES)))
    )
    order = sorted(image for image, _ in given)
    require(order == list(range(IMAGES)), f"of {IMAGES} images, these were given: {order}")
    require(all(hypotheses for _, hypotheses in given), "an image has no caption")


@rule("best-first")
def best_first(case: Case) -> None:
    """An image's captions come best first: their scores never rise."""
    for hypotheses in [*usual(case), *found(case, n=4)]:
        scores = [h.score for h in hypotheses]
        require(all(map(math.isfinite, scores)), f"a score is not finite: {scores}")
        require(scores == sorted(scores, reverse=True), f"the scores are {scores}")


@rule("plain-numbers")
def plain_numbers(case: Case) -> None:
    """Token ids are Python's whole numbers, log-probabilities and scores its floats."""
    for h in (h for hypotheses in usual(case) for h in hypotheses):
        tokens = isinstance(h.ids, tuple) and all(isinstance(token, int) for token in h.ids)
        require(tokens, f"the ids are {h.ids!r}, not a tuple of ints")
        for what in ("logprob", "score"):
            value = getattr(h, what)
            kind = type(value).__name__
            require(isinstance(value, float), f"the {what} of {h.ids} is a {kind}, not a float")


@rule("logprob")
def logprob(case: Case) -> None:
    """A caption's `logprob` is what teacher forcing gives it, stop token included."""
    lm = case.language_model()
    device = next(lm.module.parameters()).device
    prefix, stop = prefixes(case).to(device), settings(case, ())["stop_ids"]
    for number, hypotheses in enumerate(usual(case)):
        for h in hypotheses:
            text = [*h.ids, *(stop if h.finish_reason == "stop" else ())]
            ids = torch.tensor([text], device=device)
            with torch.inference_mode():
                logits = lm.teacher_forced(prefix[number : number + 1], ids, ids >= 0)
            each = logits.float().log_softmax(-1).gather(-1, ids[..., None])
            own = each.sum().item()
            near = math.isclose(own, h.logprob, abs_tol=TOLERANCE)
            require(near, f"{h.ids} of image {number} has {h.logprob}; the model says {own}")


@rule("limit")
def limit(case: Case) -> None:
    """No caption has more than `max_new_tokens` tokens, the stop token included."""
    for most in (1, 2, LIMIT):
        captions = found(case, max_new_tokens=most)
        longest = max(len(h.ids) + (h.finish_reason == "stop") for hyps in captions for h in hyps)
        require(longest <= most, f"a caption has {longest} tokens where {most} are allowed")


@rule("ids-without-stop")
def ids_without_stop(case: Case) -> None:
    """No stop token stands in a caption's ids, of one stop token or of two."""
    (stop,) = settings(case, ())["stop_ids"]
    two = (stop, 0 if stop else 1)
    for stops, captions in (((stop,), usual(case)), (two, found(case, stop_ids=two))):
        for h in (h for hypotheses in captions for h in hypotheses):
            require(not set(stops) & set(h.ids), f"{h.ids} holds one of the stop tokens {stops}")


@rule("finish")
def finish(case: Case) -> None:
    """`finish` is "length" where a caption has all the tokens it may have, else "stop".

    `stop_id` names the stop token where one ended it, and only there.
    """
    stops = settings(case, ())["stop_ids"]
    for most in (1, LIMIT):
        for h in (h for hypotheses in found(case, max_new_tokens=most) for h in hypotheses):
            right = "length" if len(h.ids) >= most else "stop"
            require(
                h.finish_reason == right,
                f"{h.ids} of at most {most} finished by {h.finish_reason!r}",
            )
            said = f"{h.ids} finished by {h.finish_reason!r} has the stop_id {h.stop_id!r}"
            known = h.stop_id in stops if h.finish_reason == "stop" else h.stop_id is None
            require(known, f"{said}; the stop tokens are {stops}")


@rule("text")
def text(case: Case) -> None:
    """A caption's text is that of its ids, and has the stop token's only where that is wanted."""
    tokenizer, (stop,) = case.language_model().tokenizer, settings(case, ())["stop_ids"]
    for visible, captions in ((False, usual(case)), (True, found(case, stop_visible=True))):
        for h in (h for hypotheses in captions for h in hypotheses):
            shown = [*h.ids, stop] if visible and h.finish_reason == "stop" else h.ids
            right = tokenizer.decode(shown).strip() if tokenizer else ""
            require(h.text == right, f"the text of {h.ids} is {h.text!r}, not {right!r}")


@rule("batch-alone")
def batch_alone(case: Case) -> str | None:
    """An image alone gets the captions that it gets in a batch."""
    if cast(DecoderConfig, case.config).batch_dependent():
        return "its captions depend on the images beside them, as `batch_dependent` says"
    alone = [found(case, [number])[0] for number in range(IMAGES)]
    same(case, usual(case), alone, "alone")
    return None


@rule("batch-order")
def batch_order(case: Case) -> None:
    """The order of the images changes nothing."""
    turned = found(case, range(IMAGES - 1, -1, -1))
    same(case, usual(case), turned[::-1], "in reverse order")


@rule("max-rows")
def max_rows(case: Case) -> None:
    """The number of rows held at once changes nothing, and no more are held than are allowed."""
    lm = case.language_model()
    for rows in (1, 7):
        if isinstance(lm, TableLM):
            lm.most_rows = lm.most_wanted = 0
        same(case, usual(case), found(case, max_rows=rows), f"with max_rows={rows}")
        if isinstance(lm, TableLM):
            most = max(rows, lm.most_wanted)
            held = f"with max_rows={rows} and {lm.most_wanted} rows_per_image, {lm.most_rows}"
            require(lm.most_rows <= most, f"{held} rows were held at once")


@rule("seed")
def seed(case: Case) -> None:
    """The same seed gives the same captions, whatever the global random state."""
    for number in (0, 11):
        with random_states_kept():
            seed_all(4)
            first = found(case, seed=number)
            seed_all(5)
            again = found(case, seed=number)
        same(case, first, again, f"a second time with seed {number}")


@rule("streams")
def streams(case: Case) -> str | None:
    """Where chance decides, images of one prefix and one feature have each their own chance."""
    config, lm = cast(DecoderConfig, case.config), case.language_model()
    prefix = prefixes(case, 1).expand(SAME, -1, -1)
    names = [f"image {number}" for number in range(SAME)]
    first, second = (
        [
            [h.ids for h in hypotheses]
            for hypotheses in decode(
                lm, prefix, config, **settings(case, [0] * SAME, image_ids=names, seed=number)
            )
        ]
        for number in (0, 1)
    )
    if first == second:
        return "its captions do not change with the seed"
    # captions that differ between two seeds, and never between images, are drawn by the seed alone
    alike = all(each == found[0] for found in (first, second) for each in found)
    require(not alike, f"with another seed, all {SAME} images change alike, to {second[0]}")
    return None


@rule("global-random-state")
def global_random_state(case: Case) -> None:
    """The global random states of torch, numpy and Python stay as they were."""
    with random_states_kept():
        before = random_states()
        found(case)
        after = random_states()
    for library, state in before.items():
        require(state == after[library], f"decoding changed the global random state of {library}")


@rule("n")
def number_wanted(case: Case) -> None:
    """An image gets as many captions as are asked for."""
    for n in (1, 3):
        counts = {len(hypotheses) for hypotheses in found(case, n=n)}
        require(counts == {n}, f"{n} captions were wanted and {sorted(counts)} came")


@rule("prefix-of-one")
def prefix_of_one(case: Case) -> None:
    """A prefix of one position will do."""
    prefix, lm = prefixes(case, length=1), case.language_model()
    arguments = settings(case, range(IMAGES))
    captions = decode(lm, prefix, cast(DecoderConfig, case.config), **arguments)
    require(all(captions), "an image has no caption")


@rule("many-images")
def many_images(case: Case) -> None:
    """More images than rows, and no images at all, are decoded."""
    captions = found(case, range(23), max_rows=9, max_new_tokens=3)
    require(len(captions) == 23 and all(captions), "an image has no caption")
    none = prefixes(case, 0)
    config = cast(DecoderConfig, case.config)
    nothing = decode(case.language_model(), none, config, **settings(case, ()))
    require(nothing == [], f"no images gave {nothing}")


@rule("stop-at-once")
def stop_at_once(case: Case) -> None:
    """Where every token is a stop token, every caption is empty."""
    for hypotheses in found(case, stop_ids=range(case.language_model().vocab_size)):
        require(bool(hypotheses), "an image has no caption")
        for h in hypotheses:
            require(h.ids == () and h.finish_reason == "stop", f"the caption is {h}")


@rule("no-stop")
def no_stop(case: Case) -> None:
    """Without stop tokens every caption has all the tokens it may have."""
    for h in (h for hypotheses in found(case, stop_ids=()) for h in hypotheses):
        full = len(h.ids) == LIMIT and h.finish_reason == "length"
        require(full, f"of {LIMIT} tokens, {len(h.ids)} came, ended by {h.finish_reason!r}")


@rule("inputs-untouched")
def inputs_untouched(case: Case) -> None:
    """The prefixes and features that are given are not changed."""
    prefix, arguments = prefixes(case), settings(case, range(IMAGES))
    before = prefix.clone(), arguments["features"].clone()
    decode(case.language_model(), prefix, cast(DecoderConfig, case.config), **arguments)
    require(torch.equal(prefix, before[0]), "the prefixes were changed")
    require(torch.equal(arguments["features"], before[1]), "the features were changed")


RULES = (
    every_image_once,
    best_first,
    plain_numbers,
    logprob,
    limit,
    ids_without_stop,
    finish,
    text,
    batch_alone,
    batch_order,
    max_rows,
    seed,
    streams,
    global_random_state,
    number_wanted,
    prefix_of_one,
    many_images,
    stop_at_once,
    no_stop,
    inputs_untouched,
)
