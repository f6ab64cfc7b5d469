"""Log-probabilities of captions that were not decoded by the model's own logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prefixcap.interfaces.decoder import DecodingTask, Hypothesis

# maximum number of logits in memory at once
LOGITS = 2**25


def own_logprobs(task: DecodingTask, captions: Sequence[tuple[int, Hypothesis]]) -> list[float]:
    """Return the model's own log-probability of each caption, by teacher forcing.

    Args:
        task: The decoded task.
        captions: Image numbers, each with a hypothesis.
    """
    texts = [[*h.ids, *([] if h.stop_id is None else [h.stop_id])] for _, h in captions]
    longest = max(map(len, texts), default=0)
    if not longest:  # texts of another tokenizer may be empty without a stop token
        return [0.0] * len(texts)
    step = max(1, LOGITS // max(1, longest * task.lm.vocab_size))
    device = task.prefix.device
    logprobs: list[float] = []
    for first in range(0, len(texts), step):
        batch = texts[first : first + step]
        images = [image for image, _ in captions[first : first + step]]
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in batch], device=device)
        lengths = torch.tensor([len(text) for text in batch], device=device)
        mask = torch.arange(longest, device=device) < lengths[:, None]
        logits = task.lm.teacher_forced(task.prefix[images], ids, mask).float()
        chosen = logits.gather(2, ids[:, :, None]).squeeze(2) - logits.logsumexp(-1)  # (B, T)
        logprobs += chosen.masked_fill(~mask, 0.0).sum(1).tolist()
    return logprobs
