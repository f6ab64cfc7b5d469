"""Trials of a model on a short text, before its captions are trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prefixcap.engine.cache_session import CacheSession
from prefixcap.engine.network import Network, eval_mode, input_device
from prefixcap.engine.prefixes.inputs import PrefixInputs
from prefixcap.engine.tree_session import TreeSession
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.session import Session, SessionOptions
from prefixcap.util.memory import out_of_memory

TeacherForced = Callable[[Tensor, Tensor, Tensor], Tensor]
TreeLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

# What a model raises if it does not take the inputs of a trial.
_REJECTIONS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)


@torch.inference_mode()
def agrees(network: Network, model: Any) -> bool:
    """Return whether the network's logits agree with the cache session's on a short text."""
    prefix = _prefix(model, 3)
    options = SessionOptions(rows_per_image=3)
    try:
        with eval_mode(model):
            inputs = PrefixInputs(embeddings=prefix)
            fast = _branching(TreeSession(network, inputs, options))
            slow = _branching(CacheSession(model, inputs, options))
    except _REJECTIONS:
        return False
    return bool((fast - slow).abs().max() <= _allowed(slow, model))


@torch.inference_mode()
def require_agreement(
    model: Any,
    teacher_forced: TeacherForced,
    open_prefix: Callable[[Tensor], PrefixInputs],
    vocabulary: int,
    positions: int | None,
) -> None:
    """Check that a model gives the same logits for embeddings of tokens as for their ids.

    Training passes a caption's tokens as embeddings, with all of them in one run; decoding passes
    their ids, one by one.

    Args:
        model: A causal language model of transformers.
        teacher_forced: Returns its logits, as `LanguageModel.teacher_forced` does.
        open_prefix: Returns what the model runs for prefixes.
        vocabulary: V.
        positions: The maximum length of prefix and text.

    Raises:
        PrefixcapError: If the logits differ by more than a thousandth of their spread (in float32),
            or if the model does not take these inputs.
    """
    length = 4 if positions is None else min(4, positions - 2)
    if length < 2:
        return
    prefix, name = _prefix(model, 2), type(model).__name__
    ids = (1 + torch.arange(2 * length, device=prefix.device).view(2, length)) % vocabulary
    try:
        with eval_mode(model):
            forced = teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool)).float()
            stepped = _stepwise(CacheSession(model, open_prefix(prefix), SessionOptions()), ids)
        difference = float((forced - stepped).abs().max())
    except _REJECTIONS as error:
        if out_of_memory(error):
            raise
        raise PrefixcapError(
            f"{name} cannot continue a prefix of embeddings ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}): use a model such "
            "as GPT-2 or Llama"
        ) from error
    # Logits that are not finite show nothing here; decoding names the images that have them.
    if difference > _allowed(stepped, model):
        raise PrefixcapError(
            f"{name} gives other logits for the embeddings of tokens, on which captions are "
            f"trained, than for their ids, from which they are decoded (a difference of "
            f"{difference:.2g}): it reads more from the ids than embeddings, such as the per-layer "
            "embeddings of Gemma 3n; use a model such as GPT-2 or Llama"
        )


@torch.inference_mode()
def trees_agree(
    model: Any, teacher_forced: TeacherForced, tree_loss: TreeLoss, vocabulary: int
) -> bool:
    """Return whether captions that share a prefix have the loss that they have apart.

    Args:
        model: A causal language model of transformers.
        teacher_forced: Returns the logits of captions apart, as in `LanguageModel`.
        tree_loss: Returns the loss of captions together, as `LanguageModel.caption_loss`.
        vocabulary: V.
    """
    prefix = _prefix(model, 2)
    images = torch.tensor([0, 0, 1], device=prefix.device)
    ids = (1 + torch.arange(9, device=prefix.device).view(3, 3)) % vocabulary
    mask = torch.tensor([[True, True, True], [True, True, False], [True, True, True]])
    mask = mask.to(prefix.device)
    try:
        together = tree_loss(prefix, images, ids, mask)
        logits = teacher_forced(prefix[images], ids, mask)
    except _REJECTIONS as error:
        if out_of_memory(error):
            raise
        return False
    apart = F.cross_entropy(logits[mask].float(), ids[mask], reduction="sum")
    return abs(float(together - apart)) <= _allowed(logits.float(), model)


def _prefix(model: Any, length: int) -> Tensor:
    """Return drawn prefixes (2,length,E) of the scale of the model's embeddings."""
    embeddings, device = model.get_input_embeddings(), input_device(model)
    rows, width = embeddings.weight.shape
    # By the module, because some scale what is in their weights (Gemma).
    known = embeddings(torch.arange(min(rows, 4096), device=device)).float()
    stream = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, length, width, generator=stream)
    return (drawn * float(known.std())).to(device)


def _allowed(logits: Tensor, model: Any) -> float:
    share = 1e-3 if model.get_input_embeddings().weight.dtype == torch.float32 else 0.15
    return share * float(logits.std())


def _branching(session: Session) -> Tensor:
    """Return the logits of a text whose rows are repeated, reordered and dropped."""
    device = session.logits.device
    logits = []
    session.admit()
    # In the last steps, three rows continue the last one, in columns before and after its own.
    for parents in ([0, 0, 1], [2, 1, 0, 2], [3, 0, 1], [1, 1, 1, 2], [2, 2, 2, 3, 3, 3]):
        logits.append(session.logits)
        tokens = torch.arange(len(parents), device=device) + len(logits)
        tokens %= session.logits.shape[1]
        session.advance(tokens, torch.tensor(parents, device=device))
    return torch.cat([*logits, session.logits])


def _stepwise(session: Session, ids: Tensor) -> Tensor:
    """Return the logits (B,T,V) of each of the tokens (B,T), given the ones before."""
    session.admit()
    logits = [session.logits]
    for tokens in ids.T[:-1]:
        logits.append(session.advance(tokens, torch.arange(len(ids), device=ids.device)))
    return torch.stack(logits, 1)
