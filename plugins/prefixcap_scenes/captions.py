"""Captions of a scene: different sentences that mention different parts of it."""

from __future__ import annotations

from random import Random

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap_scenes.phrases import PARTS
from prefixcap_scenes.world import Scene

_MAX_ROUNDS = 20  # rounds through all plans without a new caption before giving up


@attrs.frozen
class SentencePlan:
    """A kind of sentence."""

    weight: float  # plans with larger weights tend to be used first
    parts: str  # names of the parts in the order in which they are drawn, on which captions depend
    template: str  # the sentence with its parts

    def sentence(self, scene: Scene, rng: Random) -> str | None:
        """Return a sentence about a scene, or None if it would be unnatural."""
        drawn: dict[str, str] = {}
        for name in self.parts.split():
            part = PARTS[name](scene, rng)
            if part is None:
                return None
            drawn[name] = part
        text = self.template.format(**drawn)
        return f"{text[0].upper()}{text[1:]}."


_PAIR = (
    SentencePlan(4, "first second verb relation maybe_where",
                 "{first} {verb} {relation} {second}{maybe_where}"),
    SentencePlan(4, "first second relation maybe_where",
                 "{first} {relation} {second}{maybe_where}"),
    SentencePlan(2, "first second where", "{first} and {second}{where}"),
    SentencePlan(2, "first second relation be seldom_where",
                 "there {be} {first} {relation} {second}{seldom_where}"),
    SentencePlan(1, "first second verb relation place",
                 "{place}, {first} {verb} {relation} {second}"),
    SentencePlan(1, "first second inverse second_verb maybe_where",
                 "{second} {second_verb} {inverse} {first}{maybe_where}"),
    SentencePlan(1, "first second maybe_where side", "{second}{maybe_where} with {first} {side}"),
    SentencePlan(0.8, "first second picture relation",
                 "a {picture} of {first} {relation} {second}"),
    SentencePlan(0.8, "short_first short_second maybe_time place_name",
                 "{place_name}{maybe_time} with {short_first} and {short_second}"),
    SentencePlan(0.3, "first second verb relation time",
                 "{time}, {first} {verb} {relation} {second}"),
)  # fmt: skip

_ALONE = (
    SentencePlan(4, "first verb where", "{first} {verb}{where}"),
    SentencePlan(4, "first where", "{first}{where}"),
    SentencePlan(2, "be first where", "there {be} {first}{where}"),
    SentencePlan(1.5, "short_first maybe_time place_name",
                 "{place_name}{maybe_time} with {short_first}"),
    SentencePlan(1, "first place verb", "{place}, {first} {verb}"),
    SentencePlan(1, "picture first where", "a {picture} of {first}{where}"),
    SentencePlan(0.5, "first verb time place", "{time}, {first} {verb} {place}"),
)  # fmt: skip


def captions(scene: Scene, count: int = 5) -> tuple[str, ...]:
    """Return captions of a scene, always the same for the same scene.

    Args:
        scene: The scene.
        count: Number of captions; beyond the number of sentence plans, plans are reused.

    Raises:
        PrefixcapError: If the plans cannot give that many different captions.
    """
    rng = Random(f"captions {scene.seed}")
    plans = _ALONE if scene.other is None else _PAIR
    texts: dict[str, None] = {}
    empty_rounds = 0
    while len(texts) < count:
        before = len(texts)
        # a weighted shuffle: larger weights tend to come first
        for plan in sorted(plans, key=lambda plan: -(rng.random() ** (1 / plan.weight))):
            sentence = plan.sentence(scene, rng)
            if sentence is not None:
                texts[sentence] = None
            if len(texts) == count:
                break
        empty_rounds = empty_rounds + 1 if len(texts) == before else 0
        if empty_rounds == _MAX_ROUNDS:
            raise PrefixcapError(
                f"scenes: only {before} different captions of the scene {scene.seed} were found, "
                f"but {count} were requested"
            )
    return tuple(texts)
