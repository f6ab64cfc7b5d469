"""Rules for bridges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor

from prefixcap.interfaces.bridge import Bridge
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import max_difference, random_states
from prefixcap.testing.rules.rule import require, rule

TOLERANCE = 1e-5
WIDTH = 12
Side = Callable[[Tensor], Tensor]


def drawn(rows: int, seed: int) -> Tensor:
    """Draw embeddings (B,12) around a mean that is not zero, the same for a seed."""
    stream = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(rows, WIDTH, generator=stream) + torch.arange(WIDTH) / 4


def texts() -> Tensor:
    """Draw texts (9,12)."""
    return drawn(9, 1)


def images() -> Tensor:
    """Draw images (4,12)."""
    return drawn(4, 2)


def noise() -> Tensor:
    """Draw noise (9,12) for the texts."""
    return drawn(9, 3)


def learned(case: Case) -> Mapping[str, Tensor]:
    """Return what the bridge learns from the texts and images of the rules, learned once."""
    return case.once("learned", lambda: bridge(case).learn(texts(), images()))


def bridge(case: Case) -> Bridge:
    """Return the case's bridge, built once."""
    return cast(Bridge, case.built())


def sides(bridge: Bridge, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Side, Tensor]]:
    """Yield the bridge's sides that are not random, with their names and embeddings for them."""
    yield "text", lambda given: bridge.text_side(given, state, None), texts()
    yield "image", lambda given: bridge.image_side(given, state), images()


@rule("embedding-shape")
def embedding_shape(case: Case) -> None:
    """Both sides return finite float32 embeddings of the shape (B,D) that they get."""
    own = bridge(case)
    results = {name: (side(given), given) for name, side, given in sides(own, learned(case))}
    results["noisy text"] = own.text_side(texts(), learned(case), noise()), texts()
    for name, (result, given) in results.items():
        shape = tuple(result.shape)
        require(
            result.shape == given.shape, f"the {name} side turns {tuple(given.shape)} to {shape}"
        )
        require(result.dtype == torch.float32, f"the {name} side returns {result.dtype}")
        require(bool(result.isfinite().all()), f"the {name} side's result is not finite")


@rule("embedding-alone")
def embedding_alone(case: Case) -> None:
    """What an embedding becomes does not depend on the rest of its batch."""
    for name, side, given in sides(bridge(case), learned(case)):
        together = side(given)
        for i in range(len(given)):
            difference = max_difference(side(given[i : i + 1])[0], together[i])
            require(difference <= TOLERANCE, f"{name} {i} alone becomes something else")


@rule("embeddings-matter")
def embeddings_matter(case: Case) -> None:
    """Different embeddings become different ones."""
    for name, side, given in sides(bridge(case), learned(case)):
        result = side(given)
        require(not torch.allclose(result[0], result[1]), f"two {name}s become the same")


@rule("randomness")
def randomness(case: Case) -> None:
    """Only the passed noise is random; global random states are neither read nor changed."""
    own, before = bridge(case), random_states()
    for name, side, given in sides(own, learned(case)):
        require(torch.equal(side(given), side(given)), f"the {name} side differs between two calls")
    noisy = [own.text_side(texts(), learned(case), noise()) for _ in range(2)]
    require(torch.equal(*noisy), "the text side differs between two calls with the same noise")
    own.learn(texts(), images())
    changed = [name for name, state in random_states().items() if state != before[name]]
    require(not changed, f"the random states of {', '.join(changed)} were changed")


@rule("learned-again")
def learned_again(case: Case) -> None:
    """It learns named float32 tensors, the same ones from the same embeddings."""
    one, two = learned(case), case.build().learn(texts(), images())
    require(set(one) == set(two), f"it learned {sorted(one)}, and then {sorted(two)}")
    for name, tensor in one.items():
        require(name.isidentifier(), f"{name!r} is not an identifier")
        require(tensor.dtype == torch.float32, f"{name!r} is {tensor.dtype}")
        require(torch.equal(tensor, two[name]), f"{name!r} differs when it is learned again")


@rule("all-learned")
def all_learned(case: Case) -> None:
    """Everything that it learns is in what `learn` returns, so that a saved model has it."""
    own, fresh = case.build(), case.build()
    state = own.learn(texts(), images())
    for (name, one, given), (_, two, _) in zip(sides(own, state), sides(fresh, state), strict=True):
        problem = f"a bridge with the same learned tensors has another {name} side"
        require(torch.equal(one(given), two(given)), problem)


@rule("unpaired")
def unpaired(case: Case) -> None:
    """What it learns does not depend on which image belongs to which text."""
    one, two = learned(case), bridge(case).learn(texts(), images().flip(0))
    for name, tensor in one.items():
        same = tensor.shape == two[name].shape and max_difference(two[name], tensor) <= TOLERANCE
        require(same, f"{name!r} differs if the images come in another order")


@rule("inputs-untouched")
def inputs_untouched(case: Case) -> None:
    """Neither embeddings nor what was learned are changed."""
    own, state = bridge(case), {name: tensor.clone() for name, tensor in learned(case).items()}
    given, shown, drawn = texts(), images(), noise()
    own.learn(given, shown)
    own.text_side(given, state, drawn)
    own.image_side(shown, state)
    own.measure(shown, state)
    pairs = {"texts": (given, texts()), "images": (shown, images()), "the noise": (drawn, noise())}
    pairs |= {f"the learned {name!r}": (state[name], learned(case)[name]) for name in state}
    changed = [name for name, (after, before) in pairs.items() if not torch.equal(after, before)]
    require(not changed, f"{' and '.join(changed)} were changed")


@rule("measures")
def measures(case: Case) -> None:
    """Its measures of images (B) are finite numbers (B)."""
    for name, values in bridge(case).measure(images(), learned(case)).items():
        shape = tuple(values.shape)
        require(
            shape == (len(images()),), f"{name!r} has the shape {shape}, not ({len(images())},)"
        )
        require(bool(values.isfinite().all()), f"{name!r} is not finite")


@rule("device")
def device(case: Case) -> None:
    """New tensors are created on the device of the embeddings."""
    state = {name: tensor.to("meta") for name, tensor in learned(case).items()}
    for name, side, given in sides(bridge(case), state):
        try:
            side(given.to("meta"))
        except (RuntimeError, NotImplementedError) as error:
            # other errors may come from the meta device, which holds no values
            mixed = "expected device" in str(error) or "same device" in str(error)
            require(not mixed, f"the {name} side mixes two devices: {error}")
