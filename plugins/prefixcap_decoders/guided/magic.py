"""MAGIC: contrastive search with CLIP's similarity of image and caption."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.contrastive_search.decoder import ContrastiveSearch, ContrastiveState
from prefixcap_decoders.guided.config import Magic
from prefixcap_decoders.image_texts import ImageTexts, require_text, with_prompt


class MagicSearch(Decoder):
    """Contrastive search whose candidates are also compared with the image."""

    def __init__(self, config: Magic) -> None:
        self.config = config

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        require_text(task, "magic")
        judge = ImageTexts.of(task, self.config.text, "magic")
        search = ContrastiveSearch(self.config, partial(self._bonus, task, judge))
        yield from search.decode(task)

    def _bonus(
        self,
        task: DecodingTask,
        judge: ImageTexts,
        live: ContrastiveState,
        tokens: Tensor,
        allowed: Tensor,
    ) -> Tensor:
        """Return CLIP's share (M,C) of the values of candidates (M,C)."""
        images, texts = [], []
        texts_so_far, lengths = live.texts.tolist(), live.lengths.tolist()
        rows = zip(live.images, texts_so_far, lengths, tokens.tolist(), strict=True)
        for image, text, length, candidates in rows:
            for token in candidates:
                caption = task.hypothesis([*text[:length], token], 0.0).text
                images.append(image)
                texts.append(with_prompt(self.config.prompt, caption))
        cosines = judge.cosines(images, texts).view(tokens.shape).to(allowed.device)
        logits = (cosines / self.config.temperature).masked_fill(~allowed, -torch.inf)
        return self.config.beta * logits.softmax(-1)
