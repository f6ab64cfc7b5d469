"""Rules for tunings."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from prefixcap.kinds import Tuning
from prefixcap.testing.case import Case
from prefixcap.testing.rules import require, rule


def tuned(case: Case, before: bool | None = None) -> nn.Module:
    """Makes the case's model and applies the tuning.

    Args:
        case: the case.
        before: what every parameter's `requires_grad` is set to first; left alone unless given.
    """
    module = case.module()
    if before is not None:
        module.requires_grad_(before)
    # a tuning may draw fresh parameters
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
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
    far = (before - after).abs().max().item()
    require(far < 1e-6, f"the logits changed by {far:.2g}")


@rule("decides")
def decides(case: Case) -> None:
    """What is trained does not depend on what required gradients before, nor on chance."""
    names = trained(tuned(case, True))
    for before in (True, False):
        other = trained(tuned(case, before))
        require(other == names, f"with requires_grad={before} before, {other} are trained")


@rule("gradients")
def gradients(case: Case) -> None:
    """A gradient reaches every parameter that is to be trained, and no other one."""
    module = tuned(case)
    found = logits(module)
    require(found.requires_grad == bool(trained(module)), "nothing trained reaches the logits")
    if found.requires_grad:
        torch.autograd.backward(found.logsumexp(-1).sum())
    reached = [name for name, p in module.named_parameters() if p.grad is not None]
    require(reached == trained(module), f"{trained(module)} are to be trained; reached: {reached}")


RULES = (output_unchanged, decides, gradients)
