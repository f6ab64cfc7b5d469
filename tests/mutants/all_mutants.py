"""Every mutant, with the rule that it breaks.

A mutant is a correct component with a twist. The rules listed after the one that it should break
are those that the same mistake breaks too.
"""

from __future__ import annotations

import attrs
import torch
from torch import nn

from mutants.configs import (
    Aliased,
    BadCompany,
    Doubling,
    ErrorRate,
    Misdeclared,
    Misnamed,
    NoDevice,
    NoDtype,
    SameSize,
    SameSizeMapper,
    Seeing,
    Thawed,
    Together,
    TwistedBridge,
    TwistedDataset,
    TwistedDecoder,
    TwistedEncoder,
    TwistedFolding,
    TwistedLauncherConfig,
    TwistedLM,
    TwistedMapper,
    TwistedMetric,
    TwistedPrompt,
    TwistedRetriever,
    TwistedTuning,
    Undeclared,
    Undocumented,
    Unequal,
    UnlearnedMapper,
    Untyped,
    Worded,
    WrongDefault,
)
from mutants.heavy import Heavy
from prefixcap.interfaces.component import Component
from prefixcap.plugin.host import Plugin
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap.testing import Case, rules_for
from prefixcap.testing.case import small_gpt2


@attrs.frozen
class Mutant:
    """A wrong component.

    Attributes:
        case: The component, with what is needed to test it.
        breaks: The rule that it should break.
        also: Other rules that the same mistake breaks.
    """

    case: Case
    breaks: str
    also: frozenset[str] = frozenset()


def perturbed_gpt2() -> nn.Module:
    """The small GPT-2 with biases that are not zero."""
    module = small_gpt2()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1)
    return module


SESSION = ("steps", "rows", "token-trees", "kept-rows", "admission", "two-sessions")
ALL_LOGITS = ("padding", "deep-copy", *SESSION)
ENCODES = ("frozen", "image-alone", "images-matter")
LETTERS = ("abc", "jig")
CORRECT = [
    Case(config=TwistedDecoder()),
    Case(config=TwistedMapper()),
    Case(config=TwistedBridge()),
    Case(config=TwistedLM(), texts=LETTERS),
    Case(config=TwistedEncoder()),
    Case(config=TwistedDataset()),
    Case(config=TwistedMetric()),
    Case(config=TwistedTuning()),
    Case(config=TwistedRetriever()),
    Case(config=TwistedPrompt()),
    Case(config=TwistedFolding(), module=perturbed_gpt2),
    Case(config=TwistedLauncherConfig()),
    Case(config=TwistedLauncherConfig(twist="leaves")),
    # correct components that a rule could reject by mistake
    Case(config=TwistedDecoder(twist="sees")),
    Case(config=Together(twist="by batch size")),
    Case(config=TwistedDecoder(twist="needs stop"), without={"no-stop": "it needs a stop token"}),
    Case(config=Aliased(sharpness=2.0)),
    Case(config=Worded(words='one,"two;",three')),
    Case(config=TwistedMapper(twist="drops out")),
    Case(config=TwistedEncoder(twist="large")),
    Case(config=ErrorRate(twist="loss")),
    Case(config=Seeing(twist="opens")),
    *(
        Case(config=TwistedMetric(twist=twist))
        for twist in ("float32", "whole", "not a number", "resamples")
    ),
]


def mutant(config: Component, breaks: str, *also: str) -> Mutant:
    return Mutant(Case(config=config, texts=LETTERS), breaks, frozenset(also))


DECODERS = [
    mutant(TwistedDecoder(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("twice", "every-image-once", "many-images"),
        ("worst first", "best-first"),
        ("mean logprob", "logprob"),
        ("numpy's logprob", "plain-numbers"),
        ("numpy's ids", "plain-numbers"),
        ("no stop id", "finish-reason"),
        ("one stream", "streams"),
        ("crowds", "max-rows"),
        ("nothing", "n", "every-image-once", "many-images", "stop-at-once"),
        ("one too many", "limit", "finish-reason", "no-stop"),
        (
            "keeps stop",
            "ids-without-stop",
            "logprob",
            "finish-reason",
            "limit",
            "text",
            "stop-at-once",
        ),
        ("always stops", "finish-reason", "limit", "logprob", "text"),
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
        (
            "never empty",
            "stop-at-once",
            "logprob",
            "text",
            "ids-without-stop",
            "limit",
            "finish-reason",
        ),
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
        ("own dice", "initial-weights"),
        ("reseeds", "initial-weights"),
        ("hidden weight", "state-dict", "device"),
        ("hidden mean", "state-dict"),
        ("plain tensor", "device"),
        ("made here", "device"),
    )
]
MAPPERS.append(mutant(UnlearnedMapper(), "gradients"))
MAPPERS.append(mutant(SameSizeMapper(), "sizes"))
LMS = [
    mutant(TwistedLM(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("wrong width", "sizes"),
        ("reads padding", "padding"),
        ("feels padding", "padding"),
        ("dropout", "teacher-forced-alone", "caption-loss", *ALL_LOGITS),
        ("detached", "gradient", "caption-loss"),
        ("shares captions", "caption-loss"),
        ("shares weights", "deep-copy"),
        ("other module", "deep-copy"),
        ("kept digest", "deep-copy"),
        ("stale", "steps", "rows", "admission", "two-sessions"),
        ("sorting", "rows", "hidden-states"),
        ("unsettled", "admission"),
        ("turned states", "hidden-states", "prefix-hidden-states"),
        ("too many images", "admission"),
        ("needs rows", "no-rows", "admission", "prefix-hidden-states"),
        ("shared", "two-sessions", "hidden-states"),
        ("one state", "hidden-states", "prefix-hidden-states"),
        ("always hidden", "hidden-states", "prefix-hidden-states"),
        ("flat trees", "token-trees"),
        ("turns kept", "kept-rows"),
        ("prefix reversed", "prefix-hidden-states"),
        ("wrong tokenizer", "tokenizer"),
        ("adds end", "tokenizer"),
        ("adds beginning", "tokenizer"),
        ("restless", "digest", "deep-copy"),
    )
]
LMS.append(mutant(NoDtype(), "sizes", *(rule.name for rule in rules_for("lm"))))
ENCODERS = [
    mutant(TwistedEncoder(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("wrong width", "feature-shape", "text-encoder"),
        ("double", "feature-shape"),
        ("trained", "frozen"),
        ("batch norm", "image-alone"),
        ("blind", "images-matter"),
        ("half blind", "images-matter"),
        ("colours only", "feature-shape", *ENCODES),
        ("narrow texts", "text-encoder"),
        ("short texts", "text-encoder"),
        ("texts by batch", "text-encoder"),
        ("trained texts", "text-encoder"),
        ("restless", "digest"),
    )
]
ENCODERS.append(mutant(NoDevice(), "feature-shape", *ENCODES, "text-encoder", "digest"))
DATASETS = [
    mutant(TwistedDataset(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("same split", "splits"),
        ("empty split", "splits", "readable-images"),
        ("gives nothing", "unknown-split"),
        ("leaks", "unique-images"),
        ("same id", "unique-images"),
        ("same index", "unique-images"),
        ("number ids", "unique-images"),
        ("shuffles", "order"),
        ("renumbers", "order"),
        ("draws texts", "order"),
        ("blank", "references"),
        ("no texts", "references"),
        ("no image", "readable-images"),
        ("noisy", "readable-images"),
        ("late binding", "readable-images"),
        ("arrays", "readable-images"),
        ("deep embedding", "readable-images"),
        ("one digest", "image-digests"),
        ("fresh digests", "image-digests"),
        ("restless", "digest"),
        ("bytes", "digest"),
    )
]
DATASETS.append(Mutant(Case(config=BadCompany(), registry=default_registry()), "recommended"))
METRICS = [
    mutant(TwistedMetric(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("divides", "finite"),
        ("needs two", "finite"),
        ("renames", "names", "record-order", "perfect-is-best"),
        ("loses one", "per-image", "record-order"),
        ("nothing of an image", "per-image", "record-order", "requires", "repeatable"),
        ("by position", "record-order"),
        ("unordered", "record-order"),
        ("loss", "perfect-is-best"),
        ("peeks", "requires"),
        ("noisy", "repeatable", "record-order", "requires"),
        ("resamples halves", "resamplable"),
    )
]
METRICS.append(mutant(Misdeclared(), "perfect-is-best"))
BRIDGES = [
    mutant(TwistedBridge(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("half", "embedding-shape"),
        ("narrow", "embedding-shape"),
        ("batch norm", "embedding-alone"),
        ("deaf", "embeddings-matter"),
        ("reads random state", "randomness", "embedding-alone", "all-learned"),
        ("draws", "randomness", "learned-again", "unpaired"),
        ("own dice", "learned-again", "unpaired"),
        ("double", "learned-again"),
        ("dotted", "learned-again"),
        ("hides", "all-learned", "device"),
        ("pairs", "unpaired"),
        ("spoils", "inputs-untouched", "randomness", "all-learned", "embedding-alone"),
        ("one measure", "measures"),
        ("made here", "device"),
    )
]
TUNINGS = [
    mutant(TwistedTuning(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("perturbs", "output-unchanged"),
        ("only adds", "trained-parameters"),
        ("by chance", "trained-parameters"),
        ("unused", "gradients"),
        ("random direction", "reload"),
    )
]
TUNINGS.append(mutant(Undeclared(), "trains-lm"))
TUNINGS.append(mutant(SameSize(), "sizes"))
PROMPTS = [
    mutant(TwistedPrompt(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("own", "own-captions"),
        ("centered", "image-alone"),
        ("blind", "images-matter"),
        ("shortens", "items"),
        ("silent", "items"),
        ("by chance", "repeatable", "own-captions", "image-alone"),
        ("numbers", "reload"),
    )
]
RETRIEVERS = [
    mutant(TwistedRetriever(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("ties reversed", "neighbors", "finds-itself"),
        ("distances", "neighbors"),
        ("repeats", "neighbors"),
        ("blind", "finds-itself"),
        ("by batch size", "query-alone", "neighbors", "finds-itself"),
        ("needs k", "few-vectors"),
        ("needs queries", "few-vectors"),
        ("by chance", "repeatable", "neighbors", "finds-itself"),
        ("draws", "inputs-untouched"),
        ("in place", "inputs-untouched", "query-alone", "neighbors"),
    )
]
LAUNCHERS = [
    mutant(TwistedLauncherConfig(twist=twist), breaks, *also)
    for twist, breaks, *also in (
        ("forgets", "every-work"),
        ("twice", "every-work", "kept-workers"),
        ("short", "every-work"),
        ("idle", "every-work", "kept-workers"),
        ("late", "own-result", "kept-workers"),
        ("in process", "kept-workers"),
        ("restarts", "kept-workers"),
        ("many", "kept-workers"),
        ("silent", "stops"),
    )
]
TUNINGS += [
    Mutant(Case(config=TwistedFolding(twist=twist), module=perturbed_gpt2), breaks)
    for twist, breaks in (
        ("forgets biases", "fold-output"),
        ("in place", "fold-output"),
        ("keeps its module", "fold-modules"),
    )
]
CONFIGS = [
    mutant(Misnamed(), "config-name", "config-spec"),
    mutant(Thawed(), "config-frozen"),
    mutant(Unequal(), "config-equal", "config-json", "config-spec"),
    mutant(WrongDefault(few=1), "config-defaults"),
    mutant(Doubling(), "config-json", "config-spec", "config-equal"),
    mutant(Untyped(), "config-spec"),
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
MUTANTS = [
    *CONFIGS,
    *DECODERS,
    *MAPPERS,
    *LMS,
    *ENCODERS,
    *DATASETS,
    *METRICS,
    *BRIDGES,
    *TUNINGS,
    *RETRIEVERS,
    *PROMPTS,
    *LAUNCHERS,
]
