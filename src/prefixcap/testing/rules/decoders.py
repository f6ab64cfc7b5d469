"""Rules for decoders, tested on a language model whose probabilities are all known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor

from prefixcap.decoding.decode import decode, iter_decode
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.decoder import DecoderConfig, Hypothesis
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import preserve_random_states, random_states, seed_all
from prefixcap.testing.rules.rule import require, rule
from prefixcap.testing.table_lm import TableLM
from prefixcap.testing.word_encoder import WordsEncoder

Captions = list[list[Hypothesis]]

IMAGES = 5
LIMIT = 6
EQUAL_IMAGES = 8
TOLERANCE = 1e-3
each = chain.from_iterable
"""Yields the captions of all images."""
WIDTH = 3
"""D, of the features and of the encoder that compares captions with them."""


def decoder_config(case: Case) -> DecoderConfig:
    """Return the case's config."""
    return cast(DecoderConfig, case.config)


def prefixes(case: Case, images: int = IMAGES, length: int = 3) -> Tensor:
    """Draw prefixes (B,P,E), the same each time; each depends on its image's number alone."""
    width = case.language_model().width
    drawn = [
        torch.randn(length, width, generator=torch.Generator().manual_seed(7 + i))
        for i in range(images)
    ]
    return torch.stack(drawn) if drawn else torch.empty(0, length, width)


def stop_id(case: Case) -> int:
    """Return the model's end token, or its last token if it has none."""
    lm = case.language_model()
    return lm.vocab_size - 1 if lm.eos_id is None else lm.eos_id


def settings(case: Case, numbers: Sequence[int], **changes: Any) -> dict[str, Any]:
    """Return the arguments of `decode` for images with given numbers.

    Like its prefix, an image's feature and the captions of similar images depend on its number
    alone, not on its position.
    """
    firsts = torch.tensor(list(numbers), dtype=torch.float32).view(len(numbers), 1)
    return {
        "max_new_tokens": LIMIT,
        "stop_ids": (stop_id(case),),
        "image_ids": [f"image {number}" for number in numbers],
        "features": 1 + WIDTH * firsts + torch.arange(WIDTH),
        "encoder": WordsEncoder(WIDTH),
        "neighbors": [["b", "abcd"[number % 4 :]] for number in numbers],
        **changes,
    }


def decoded(case: Case, prefix: Tensor, numbers: Sequence[int], **changes: Any) -> Captions:
    """Decode the prefixes (B,P,E) of images with given numbers."""
    arguments = settings(case, numbers, **changes)
    return decode(case.language_model(), prefix, decoder_config(case), **arguments)


def captions(case: Case, numbers: Sequence[int] = range(IMAGES), **changes: Any) -> Captions:
    """Decode the images with given numbers, in that order."""
    return decoded(case, prefixes(case, max(numbers) + 1)[list(numbers)], numbers, **changes)


def most_captions(case: Case, wanted: int) -> int:
    """Return the largest number of captions per image, up to one, that the settings allow.

    A beam of three hypotheses has no fourth caption, and refuses to be asked for it.
    """

    def find() -> int:
        for n in range(wanted, 1, -1):
            with suppress(PrefixcapError):
                captions(case, n=n)
                return n
        return 1

    return case.once(f"most captions of {wanted}", find)


def default_captions(case: Case) -> Captions:
    """Decode the default images with the default settings, once for all rules."""
    return case.once("captions", lambda: captions(case))


def require_same(actual: Captions, expected: Captions, when: str) -> None:
    """Require that images have the same captions, with the same scores, in the same order."""
    for number, (one, other) in enumerate(zip(actual, expected, strict=True)):
        for a, b in zip(one, other, strict=False):
            require(a.ids == b.ids, f"{when}, image {number} has {b.ids} instead of {a.ids}")
            scores = ((a.logprob, b.logprob), (a.score, b.score))
            close = all(math.isclose(x, y, abs_tol=TOLERANCE) for x, y in scores)
            require(close, f"{when}, the scores of image {number} are {b} instead of {a}")
        counts = f"{len(other)} captions, not {len(one)}"
        require(len(one) == len(other), f"{when}, image {number} has {counts}")


@rule("every-image-once")
def every_image_once(case: Case) -> None:
    """Every image is returned exactly once, with at least one caption."""
    lm, arguments = case.language_model(), settings(case, range(IMAGES))
    pairs = list(iter_decode(lm, prefixes(case), decoder_config(case), **arguments))
    order = sorted(image for image, _ in pairs)
    require(order == list(range(IMAGES)), f"of {IMAGES} images, these were returned: {order}")
    require(all(hypotheses for _, hypotheses in pairs), "an image has no caption")


@rule("best-first")
def best_first(case: Case) -> None:
    """The captions of an image are sorted by score, best first."""
    for hypotheses in [*default_captions(case), *captions(case, n=most_captions(case, 4))]:
        scores = [h.score for h in hypotheses]
        require(all(map(math.isfinite, scores)), f"a score is not finite: {scores}")
        require(scores == sorted(scores, reverse=True), f"the scores are {scores}")


@rule("plain-numbers")
def plain_numbers(case: Case) -> None:
    """Token ids are Python ints; log-probabilities and scores are Python floats."""
    for h in each(default_captions(case)):
        plain = isinstance(h.ids, tuple) and all(isinstance(token, int) for token in h.ids)
        require(plain, f"the ids are {h.ids!r}, not a tuple of ints")
        for field in ("logprob", "score"):
            value = getattr(h, field)
            kind = type(value).__name__
            require(isinstance(value, float), f"the {field} of {h.ids} is a {kind}, not a float")


@rule("logprob")
def logprob(case: Case) -> None:
    """A caption's `logprob` is its log-probability by teacher forcing, stop token included."""
    lm = case.language_model()
    device = lm.device
    prefix = prefixes(case).to(device)
    for number, hypotheses in enumerate(default_captions(case)):
        for h in hypotheses:
            stop = [stop_id(case)] if h.finish_reason == "stop" else []
            ids = torch.tensor([[*h.ids, *stop]], device=device)
            with torch.inference_mode():
                logits = lm.teacher_forced(prefix[number : number + 1], ids, ids >= 0)
            expected = logits.float().log_softmax(-1).gather(-1, ids[..., None]).sum().item()
            close = math.isclose(expected, h.logprob, abs_tol=TOLERANCE)
            require(close, f"{h.ids} of image {number} has {h.logprob}, not {expected}")


@rule("limit")
def limit(case: Case) -> None:
    """No caption has more than `max_new_tokens` tokens, stop token included."""
    for most in (1, 2, LIMIT):
        hypotheses = each(captions(case, max_new_tokens=most))
        longest = max(len(h.ids) + (h.finish_reason == "stop") for h in hypotheses)
        require(longest <= most, f"a caption has {longest} tokens, but {most} are allowed")


@rule("ids-without-stop")
def ids_without_stop(case: Case) -> None:
    """A caption's ids contain no stop token, with one stop token or with two."""
    stop = stop_id(case)
    two = (stop, 0 if stop else 1)
    for stops, images in (((stop,), default_captions(case)), (two, captions(case, stop_ids=two))):
        for h in each(images):
            require(not set(stops) & set(h.ids), f"{h.ids} contains a stop token of {stops}")


@rule("finish-reason")
def finish_reason(case: Case) -> None:
    """`finish_reason` is "length" if a caption has `max_new_tokens` tokens, otherwise "stop".

    `stop_id` is the stop token that ended the caption, or None.
    """
    for most in (1, LIMIT):
        for h in each(captions(case, max_new_tokens=most)):
            expected = "length" if len(h.ids) >= most else "stop"
            place = f"{h.ids}, of at most {most} tokens, has the finish_reason {h.finish_reason!r}"
            require(h.finish_reason == expected, place)
            stop = stop_id(case) if expected == "stop" else None
            require(h.stop_id == stop, f"{place} and the stop_id {h.stop_id!r}, not {stop!r}")


@rule("text")
def text(case: Case) -> None:
    """A caption's text is that of its ids, with the stop token's text only on request."""
    tokenizer = case.language_model().tokenizer
    for visible, images in (
        (False, default_captions(case)),
        (True, captions(case, stop_visible=True)),
    ):
        for h in each(images):
            shown = [*h.ids, stop_id(case)] if visible and h.finish_reason == "stop" else h.ids
            expected = tokenizer.decode(shown).strip() if tokenizer else ""
            require(h.text == expected, f"the text of {h.ids} is {h.text!r}, not {expected!r}")


@rule("batch-alone")
def batch_alone(case: Case) -> str | None:
    """An image gets the same captions alone and in a batch."""
    if decoder_config(case).batch_dependent():
        return "its captions depend on the rest of the batch, as `batch_dependent` declares"
    alone = [captions(case, [number])[0] for number in range(IMAGES)]
    require_same(default_captions(case), alone, "alone")
    return None


@rule("batch-order")
def batch_order(case: Case) -> None:
    """The order of the images changes no caption."""
    reverse = captions(case, range(IMAGES - 1, -1, -1))
    require_same(default_captions(case), reverse[::-1], "in reverse order")


@rule("max-rows")
def max_rows(case: Case) -> None:
    """The limit on rows changes no caption, and is respected."""
    lm = case.language_model()
    for rows in (1, 7):
        if isinstance(lm, TableLM):
            lm.most_rows = lm.most_wanted = 0
        limited = captions(case, max_rows=rows)
        require_same(default_captions(case), limited, f"with max_rows={rows}")
        if isinstance(lm, TableLM):
            most = max(rows, lm.most_wanted)
            held = f"with max_rows={rows} and {lm.most_wanted} rows_per_image, {lm.most_rows}"
            require(lm.most_rows <= most, f"{held} rows were live")


@rule("seed")
def seed(case: Case) -> None:
    """The same seed gives the same captions, whatever the global random state."""
    for number in (0, 11):
        with preserve_random_states():
            seed_all(4)
            first = captions(case, seed=number)
            seed_all(5)
            second = captions(case, seed=number)
        require_same(first, second, f"a second time with seed {number}")


@rule("streams")
def streams(case: Case) -> str | None:
    """Random choices differ between images, even if prefixes and features are equal."""
    prefix = prefixes(case, 1).expand(EQUAL_IMAGES, -1, -1)
    names = [f"image {number}" for number in range(EQUAL_IMAGES)]
    by_seed = [
        decoded(case, prefix, [0] * EQUAL_IMAGES, image_ids=names, seed=number) for number in (0, 1)
    ]
    first, second = ([[h.ids for h in image] for image in images] for images in by_seed)
    if first == second:
        return "its captions do not change with the seed"
    # if captions differ between seeds but never between images, only the seed was used
    unchanged = all(ids == images[0] for images in (first, second) for ids in images)
    require(not unchanged, f"with another seed, all {EQUAL_IMAGES} images change to {second[0]}")
    return None


@rule("global-random-state")
def global_random_state(case: Case) -> None:
    """The global random states of torch, numpy and Python are unchanged."""
    with preserve_random_states():
        before = random_states()
        captions(case)
        after = random_states()
    for library, state in before.items():
        require(state == after[library], f"decoding changed the global random state of {library}")


@rule("n")
def number_of_captions(case: Case) -> None:
    """An image gets as many captions as requested."""
    for n in (1, most_captions(case, 3)):
        counts = {len(hypotheses) for hypotheses in captions(case, n=n)}
        require(counts == {n}, f"{n} captions were requested, and images got {sorted(counts)}")


@rule("prefix-of-one")
def prefix_of_one(case: Case) -> None:
    """A prefix of length 1 works."""
    images = decoded(case, prefixes(case, length=1), range(IMAGES))
    require(all(images), "an image has no caption")


@rule("many-images")
def many_images(case: Case) -> None:
    """More images than rows, and no images at all, can be decoded."""
    images = captions(case, range(23), max_rows=9, max_new_tokens=3)
    require(len(images) == 23 and all(images), "an image has no caption")
    nothing = decoded(case, prefixes(case, 0), ())
    require(nothing == [], f"no images gave {nothing}")


@rule("stop-at-once")
def stop_at_once(case: Case) -> None:
    """If every token is a stop token, every caption is empty."""
    images = captions(case, stop_ids=range(case.language_model().vocab_size))
    require(all(images), "an image has no caption")
    for h in each(images):
        require(h.ids == () and h.finish_reason == "stop", f"the caption is {h}")


@rule("no-stop")
def no_stop(case: Case) -> None:
    """Without stop tokens, every caption has `max_new_tokens` tokens."""
    for h in each(captions(case, stop_ids=())):
        full = len(h.ids) == LIMIT and h.finish_reason == "length"
        require(full, f"a caption has {len(h.ids)} of {LIMIT} tokens, and {h.finish_reason!r}")


@rule("inputs-untouched")
def inputs_untouched(case: Case) -> None:
    """The prefixes and features passed in are not changed."""
    prefix, arguments = prefixes(case), settings(case, range(IMAGES))
    before = prefix.clone(), arguments["features"].clone()
    decode(case.language_model(), prefix, decoder_config(case), **arguments)
    require(torch.equal(prefix, before[0]), "the prefixes were changed")
    require(torch.equal(arguments["features"], before[1]), "the features were changed")
