"""Rules for tunings."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from prefixcap.interfaces.tuning import Tuning, TuningConfig
from prefixcap.testing.case import Case
from prefixcap.testing.rules.helpers import apart, seeded
from prefixcap.testing.rules.rule import require, rule


def tuned(case: Case, before: bool | None = None, seed: int = 0) -> nn.Module:
    """Makes the case's model and applies the tuning.

    Args:
        case: the case.
        before: what every parameter's `requires_grad` is set to first; left alone unless given.
        seed: of the fresh parameters that a tuning may draw.
    """
    module = case.module()
    if before is not None:
        module.requires_grad_(before)
    with seeded(seed):
        cast(Tuning, case.build()).apply(module)
    return module


def trained(module: nn.Module) -> list[str]:
    """Returns the names of the parameters that would be trained."""
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def logits(module: Any) -> Tensor:
    """Runs one of transformers' models on a fixed prefix and two tokens, together (2,5,E)."""
    embeddings = module.get_input_embeddings()
    width = embeddings.weight.shape[1]
    prefix = torch.randn(2, 3, width, generator=torch.Generator().manual_seed(6))
    inputs = torch.cat([prefix, embeddings(torch.tensor([[1, 2], [3, 4]]))], 1)
    found: Tensor = module(inputs_embeds=inputs, use_cache=False).logits
    return found


@rule("output-unchanged")
def output_unchanged(case: Case) -> None:
    """Right after a tuning is applied, the model gives what it gave before."""
    before, after = logits(case.module().eval()), logits(tuned(case).eval())
    far = apart(after, before)
    require(far < 1e-6, f"the logits changed by {far:.2g}")


@rule("decides")
def decides(case: Case) -> None:
    """What is trained does not depend on what required gradients before, nor on chance."""
    names = trained(tuned(case, True))
    for before, seed in ((True, 1), (False, 0)):
        changed = sorted(set(names) ^ set(trained(tuned(case, before, seed))))
        where = f"with requires_grad={before} before and seed {seed}"
        require(not changed, f"{where}, other parameters are trained: {changed} differ")


@rule("trains-lm")
def trains_lm(case: Case) -> None:
    """Where the config says that the language model is not trained, no parameter is."""
    names = trained(tuned(case))
    declared = cast(TuningConfig, case.config).trains_lm
    require(declared or not names, f"trains_lm is False, and {names} are to be trained")


@rule("gradients")
def gradients(case: Case) -> str | None:
    """A gradient reaches every parameter that is to be trained."""
    module = tuned(case)
    if not trained(module):
        return "it trains nothing"
    with seeded():  # a module in training may drop out
        found = logits(module)
    require(found.requires_grad, "nothing trained reaches the logits")
    torch.autograd.backward(found.logsumexp(-1).sum())
    open_ones = ((name, p) for name, p in module.named_parameters() if p.requires_grad)
    missed = [name for name, parameter in open_ones if parameter.grad is None]
    require(not missed, f"no gradient reaches {', '.join(missed)}, which are to be trained")
    return None


@rule("reload")
def reload(case: Case) -> str | None:
    """What is trained is all that a saved model needs beside the tuning and the language model."""
    one, two = tuned(case, seed=0), tuned(case, seed=1)
    names = trained(one)
    if not names:
        return "it trains nothing"
    stream = torch.Generator().manual_seed(8)
    theirs = dict(two.named_parameters())
    with torch.no_grad():
        for name, parameter in one.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=stream))
                theirs[name].copy_(parameter)
        far = apart(logits(two.eval()), logits(one.eval()))
    require(far < 1e-5, f"with all that is trained copied, the logits differ by {far:.2g}")
    return None


RULES = (output_unchanged, decides, trains_lm, gradients, reload)
