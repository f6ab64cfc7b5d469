"""Every mutant, with the rule that it breaks.

A mutant is a sound component with a twist. What is listed beside the rule that a twist is there to
break are the rules that cannot but break with it.
"""

from __future__ import annotations

import attrs

from mutants.configs import (
    Doubling,
    Misnamed,
    Thawed,
    TwistedDataset,
    TwistedDecoder,
    TwistedEncoder,
    TwistedLM,
    TwistedMapper,
    TwistedMetric,
    TwistedTuning,
    Undocumented,
    Unequal,
    Worded,
    WrongDefault,
)
from mutants.heavy import Heavy
from prefixcap.config import Component
from prefixcap.host import Plugin
from prefixcap.registry import Registry
from prefixcap.testing import Case


@attrs.frozen
class Mutant:
    """A wrong component.

    Attributes:
        case: the component with what its checks need.
        breaks: the rule that it is there to break.
        also: rules that break with it, because the same fault shows in them.
    """

    case: Case
    breaks: str
    also: frozenset[str] = frozenset()


SESSION = ("steps", "rows", "texts-at-once", "kept-rows", "admission", "two-sessions")
ALL_LOGITS = ("padding", *SESSION)
LETTERS = ("abc", "jig")
SOUND = [
    Case(config=TwistedDecoder()),
    Case(config=TwistedMapper()),
    Case(config=TwistedLM(), texts=LETTERS),
    Case(config=TwistedEncoder()),
    Case(config=TwistedDataset()),
    Case(config=TwistedMetric()),
    Case(config=TwistedTuning()),
]


def mutant(config: Component, breaks: str, *also: str) -> Mutant:
    return Mutant(Case(config=config, texts=LETTERS), breaks, frozenset(also))


DECODERS = [
    mutant(TwistedDecoder(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("twice", "every-image-once", "many-images"),
        ("worst first", "best-first"),
        ("mean logprob", "logprob"),
        ("one too many", "limit", "finish", "no-stop"),
        ("keeps stop", "ids-without-stop", "logprob", "finish", "limit", "text", "stop-at-once"),
        ("always stops", "finish", "limit", "logprob", "text"),
        ("text of stop", "text"),
        ("by batch size", "batch-alone"),
        ("by first image", "batch-order", "batch-alone"),
        ("by rows", "max-rows"),
        ("reads random state", "seed"),
        ("seeds torch", "global-random-state"),
        ("seeds numpy", "global-random-state"),
        ("seeds python", "global-random-state"),
        ("own n", "n"),
        ("needs second position", "prefix-of-one"),
        ("needs image", "many-images"),
        ("never empty", "stop-at-once", "logprob", "text", "ids-without-stop", "limit", "finish"),
        ("needs stop", "no-stop"),
        ("spoils prefix", "inputs-untouched"),
        ("spoils features", "inputs-untouched"),
    )
]
MAPPERS = [
    mutant(TwistedMapper(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("turned", "prefix-shape"),
        ("batch norm", "image-alone"),
        ("deaf", "features-matter"),
        ("unused", "gradients"),
        ("own dice", "fresh-weights"),
        ("hidden weight", "state-dict"),
    )
]
LMS = [
    mutant(TwistedLM(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("wrong width", "sizes"),
        ("reads padding", "padding"),
        ("dropout", "teacher-forced-alone", *ALL_LOGITS),
        ("detached", "gradient"),
        ("stale", "steps", "rows", "two-sessions"),
        ("sorting", "rows"),
        ("too many images", "admission"),
        ("needs rows", "no-rows", "admission", "prefix-hidden-states"),
        ("shared", "two-sessions"),
        ("one state", "hidden-states", "prefix-hidden-states"),
        ("always hidden", "hidden-states", "prefix-hidden-states"),
        ("flat trees", "texts-at-once"),
        ("turns kept", "kept-rows"),
        ("prefix reversed", "prefix-hidden-states"),
        ("wrong tokenizer", "tokenizer"),
        ("restless", "digest"),
    )
]
ENCODERS = [
    mutant(TwistedEncoder(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("wrong width", "feature-shape", "text-side"),
        ("double", "feature-shape"),
        ("trained", "frozen"),
        ("batch norm", "image-alone"),
        ("blind", "images-matter"),
        ("narrow texts", "text-side"),
        ("restless", "digest"),
    )
]
DATASETS = [
    mutant(TwistedDataset(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("same split", "splits"),
        ("empty split", "splits", "readable-images"),
        ("gives nothing", "unknown-split"),
        ("leaks", "unique-images"),
        ("same id", "unique-images"),
        ("same index", "unique-images"),
        ("shuffles", "order"),
        ("blank", "references"),
        ("no texts", "references"),
        ("no image", "readable-images"),
        ("noisy", "readable-images"),
        ("restless", "digest"),
    )
]
METRICS = [
    mutant(TwistedMetric(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("divides", "finite"),
        ("renames", "names", "record-order", "perfect-is-best"),
        ("loses one", "per-image", "record-order"),
        ("by position", "record-order"),
        ("loss", "perfect-is-best"),
        ("peeks", "needs"),
        ("noisy", "repeatable", "record-order", "needs"),
    )
]
TUNINGS = [
    mutant(TwistedTuning(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("perturbs", "output-unchanged"),
        ("only adds", "decides"),
        ("unused", "gradients"),
    )
]
CONFIGS = [
    mutant(Misnamed(), "config-name", "config-spec"),
    mutant(Thawed(), "config-frozen"),
    mutant(Unequal(), "config-equal", "config-json", "config-spec"),
    mutant(WrongDefault(few=1), "config-defaults"),
    mutant(Doubling(), "config-json", "config-spec", "config-equal"),
    mutant(Worded(words="one,two"), "config-spec"),
    mutant(Undocumented(), "config-documented"),
    mutant(Heavy(), "config-light"),
    Mutant(
        Case(
            config=TwistedDecoder(),
            registry=Registry([Plugin("other", "other 1", (Worded,))]),
        ),
        "config-registered",
    ),
]
MUTANTS = [*CONFIGS, *DECODERS, *MAPPERS, *LMS, *ENCODERS, *DATASETS, *METRICS, *TUNINGS]
