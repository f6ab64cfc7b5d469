"""Rules for tunings."""

from __future__ import annotations

from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from prefixcap.engine.causal_lm import from_transformers
from prefixcap.engine.prefixes.packing import pack
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.interfaces.tuning import Tuning, TuningConfig
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import SIZES, max_difference, require_growth, seeded
from prefixcap.testing.rules.rule import require, rule
from prefixcap.util.sharing import copy_sharing_weights


def tuned(case: Case, before: bool | None = None, seed: int = 0) -> nn.Module:
    """Build the case's model and apply the tuning, which may add parameters drawn with the seed.

    If `before` is not None, every parameter's `requires_grad` is set to it first.
    """
    module = case.module()
    if before is not None:
        module.requires_grad_(before)
    with seeded(seed):
        cast(Tuning, case.build()).apply(module, shape_for(case, module))
    return module


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def shape_for(case: Case, module: Any) -> MapperShape:
    """Return the sizes of the prefixes for a transformers model."""
    config = cast(TuningConfig, case.config)
    return MapperShape(
        feature_width=6,
        feature_tokens=4,
        prefix_length=3,
        embedding_width=module.get_input_embeddings().weight.shape[1],
        reads_features=config.reads_features,
    )


def logits(case: Case, module: Any) -> Tensor:
    """Run a transformers model on fixed prefixes and two tokens each, and return logits (2,2,V)."""
    shape, stream = shape_for(case, module), torch.Generator().manual_seed(6)
    mapped = torch.randn(2, 3, shape.embedding_width, generator=stream)
    prefix = pack(mapped, torch.randn(2, 4, 6, generator=stream), shape)
    ids = torch.tensor([[1, 2], [3, 4]])
    lm = from_transformers(module).for_prefixes(shape)
    return lm.teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool))


@rule("output-unchanged")
def output_unchanged(case: Case) -> str | None:
    """The model's output is unchanged right after a tuning is applied, unless it says so."""
    if not cast(TuningConfig, case.config).starts_unchanged:
        return "starts_unchanged is False"
    before, after = case.module().eval(), tuned(case).eval()
    difference = max_difference(logits(case, after), logits(case, before))
    require(difference < 1e-6, f"the logits changed by {difference:.2g}")
    return None


@rule("trained-parameters")
def trained_parameters(case: Case) -> None:
    """Which parameters are trained depends neither on their `requires_grad` nor on chance."""
    names = trained(tuned(case, True))
    for before, seed in ((True, 1), (False, 0)):
        changed = sorted(set(names) ^ set(trained(tuned(case, before, seed))))
        when = f"with requires_grad={before} before and seed {seed}"
        require(not changed, f"{when}, other parameters are trained: {changed} differ")


@rule("trains-lm")
def trains_lm(case: Case) -> None:
    """If the config declares that the language model is not trained, no parameter is."""
    names = list(trained(tuned(case)))
    declared = cast(TuningConfig, case.config).trains_lm
    require(declared or not names, f"trains_lm is False, but {names} are trained")


@rule("gradients")
def gradients(case: Case) -> str | None:
    """A gradient reaches every parameter that is trained."""
    module = tuned(case)
    if not trained(module):
        return "it trains nothing"
    with seeded():  # there may be dropout in training mode
        output = logits(case, module)
    require(output.requires_grad, "no trained parameter affects the logits")
    torch.autograd.backward(output.logsumexp(-1).sum())
    missed = [name for name, parameter in trained(module).items() if parameter.grad is None]
    require(not missed, f"no gradient reaches {', '.join(missed)}")
    return None


def retrained(case: Case) -> nn.Module:
    """Return the case's model with the tuning applied and its trained parameters changed."""
    module, stream = tuned(case).eval(), torch.Generator().manual_seed(8)
    with torch.no_grad():
        for parameter in trained(module).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=stream))
    return module


def folded(case: Case, module: nn.Module) -> nn.Module:
    """Return a folded copy of a module that shares its parameters, as decoding uses it."""
    copied = copy_sharing_weights(module, module)
    with torch.no_grad():
        cast(Tuning, case.build()).fold(copied)
    return copied


def _folds(case: Case) -> bool:
    return cast(TuningConfig, case.config).folds


@rule("fold-output")
def fold_output(case: Case) -> str | None:
    """Folding a copy changes no logits, neither the copy's nor those of the trained model."""
    if not _folds(case):
        return "it declares that it folds nothing"
    module = retrained(case)
    with torch.no_grad():
        before = logits(case, module)
        copied = folded(case, module)
        copy, after = max_difference(logits(case, copied), before), logits(case, module)
    require(copy < 1e-5, f"the logits of the folded copy differ by {copy:.2g}")
    require(torch.equal(after, before), "folding a copy changed the logits of the trained model")
    return None


@rule("fold-modules")
def fold_modules(case: Case) -> str | None:
    """A folded model has the modules that it had before the tuning, by name and type."""
    if not _folds(case):
        return "it declares that it folds nothing"
    expected = {name: type(part) for name, part in case.module().named_modules()}
    found = {name: type(part) for name, part in folded(case, retrained(case)).named_modules()}
    other = sorted(n for n in expected.keys() | found if expected.get(n) is not found.get(n))
    require(not other, f"other modules than before the tuning are {', '.join(other)}")
    return None


@rule("reload")
def reload(case: Case) -> str | None:
    """The trained parameters are all that must be saved to restore the model."""
    one, two = tuned(case, seed=0), tuned(case, seed=1)
    if not trained(one):
        return "it trains nothing"
    stream = torch.Generator().manual_seed(8)
    theirs = dict(two.named_parameters())
    with torch.no_grad():
        for name, parameter in trained(one).items():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=stream))
            theirs[name].copy_(parameter)
        difference = max_difference(logits(case, two.eval()), logits(case, one.eval()))
    require(
        difference < 1e-5,
        f"with all trained parameters copied, the logits differ by {difference:.2g}",
    )
    return None


@rule("sizes")
def sizes(case: Case) -> str | None:
    """A config of a larger size trains more parameters, and any size from 1 can be applied."""
    counts = []
    for size in SIZES:
        config = cast(TuningConfig, case.config).sized(size)
        if config is None:
            return "it has no size, or its settings fix it"
        module = tuned(attrs.evolve(case, config=config))
        counts.append(sum(p.numel() for p in trained(module).values()))
    require_growth(counts)
    return None
