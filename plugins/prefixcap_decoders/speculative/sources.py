"""Loading the source of drafts that a config names, and opening it for a task."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from prefixcap.captioning.captioner import Captioner
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Dataset
from prefixcap.interfaces.decoder import DecodingTask
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.training.sentences import sentence
from prefixcap_decoders.lockstep import LockstepSession
from prefixcap_decoders.nested import check_shared_vocabulary, device_and_dtype
from prefixcap_decoders.speculative.acceptance import AcceptanceRule
from prefixcap_decoders.speculative.config import Speculative
from prefixcap_decoders.speculative.drafters import (
    CountDrafter,
    Drafter,
    LookupDrafter,
    ModelDrafter,
    TextDrafter,
)

Source = LanguageModel | Captioner | TextDrafter


def load(config: Speculative, task: DecodingTask) -> Source:
    """Load the source of drafts, on the language model's device."""
    if (dataset := config.draft_dataset()) is not None:
        return CountDrafter(_training_captions(dataset.build(), task))
    device, dtype = device_and_dtype(task)
    if config.run:
        return Captioner.load(config.run, device, dtype)
    lm = config.draft_model()
    return LookupDrafter() if lm is None else lm.build(device, dtype)


def open_drafter(source: Source, task: DecodingTask, rule: AcceptanceRule, rows: int) -> Drafter:
    """Open a drafter for the captions of a task.

    Args:
        source: Result of `load`.
        task: Task.
        rule: Chooses tokens.
        rows: Maximum number of rows per image.

    Raises:
        PrefixcapError: If the draft has other tokens than the language model or too few positions,
            or needs features that the task lacks.
    """
    if isinstance(source, TextDrafter):
        return source
    if isinstance(source, Captioner):
        lm, prefix = source.lm, _mapped_prefix(source, task)
    else:
        lm, prefix = source, _start_prefix(source, task)
    check_shared_vocabulary(lm, task, prefix.shape[1], "speculative: the draft")
    session = attrs.evolve(task, lm=lm, prefix=prefix).start(rows)
    return ModelDrafter(LockstepSession(session), rule, task.stop_ids)


def _training_captions(dataset: Dataset, task: DecodingTask) -> list[list[int]]:
    """Tokenize a data set's training captions as training does, each with its stop token."""
    tokenizer = task.lm.tokenizer
    if tokenizer is None:
        raise PrefixcapError(
            "speculative: captions=... needs a language model with a tokenizer, to tokenize them"
        )
    texts = [text for example in dataset.examples("train") for text in example.references]
    captions = []
    for text in filter(None, map(sentence, texts)):
        ids = tokenizer.encode(text)
        stop = next((n for n, token in enumerate(ids) if token in task.stop_ids), None)
        captions.append([*ids, *sorted(task.stop_ids)[:1]] if stop is None else ids[: stop + 1])
    return captions


def _mapped_prefix(captioner: Captioner, task: DecodingTask) -> Tensor:
    if task.features is None:
        raise PrefixcapError(
            "speculative: the draft's mapper needs the images' features, which are missing: give "
            "features, or a draft that sees no image"
        )
    return captioner.prefixes(task.features)


def _start_prefix(lm: LanguageModel, task: DecodingTask) -> Tensor:
    if lm.eos_id is None:
        raise PrefixcapError(
            "speculative: the draft has no end-of-text token to start from; use run=..., whose "
            "mapper gives it a prefix"
        )
    start = lm.embed(torch.tensor([[lm.eos_id]], device=task.prefix.device))
    return start.expand(len(task.prefix), -1, -1)  # (1, 1, E) -> (B, 1, E)
