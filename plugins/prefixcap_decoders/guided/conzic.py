"""ConZIC: captions that a masked language model and CLIP rewrite place by place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from prefixcap.errors import NonFiniteError
from prefixcap.interfaces.decoder import Decoder, DecodingTask, Hypothesis
from prefixcap_decoders.guided.conzic_config import ConZIC
from prefixcap_decoders.guided.masked_lm import MaskedLM, load_masked
from prefixcap_decoders.image_texts import ImageTexts, require_text, with_prompt
from prefixcap_decoders.rescoring import own_logprobs

if TYPE_CHECKING:
    import numpy as np


class ConZICSampler(Decoder):
    """Captions one image after the other."""

    def __init__(self, config: ConZIC) -> None:
        self.config = config

    @override
    def decode(self, task: DecodingTask) -> Iterator[tuple[int, list[Hypothesis]]]:
        config, count = self.config, task.n or self.config.n
        require_text(task, "conzic")
        judge = ImageTexts.of(task, config.text, "conzic")
        mlm = load_masked(config.mlm, str(task.prefix.device))
        for image in range(len(task.prefix)):
            # without a drawn order, all captions are the same
            chains = 1 if config.order == "sequential" else count
            generator = task.generator(image)
            found = [self._rewrite(task, judge, mlm, image, generator) for _ in range(chains)]
            captions = [_as_hypothesis(task, text, score) for text, score in found]
            logprobs = own_logprobs(task, [(image, h) for h in captions])
            pairs = zip(captions, logprobs, strict=True)
            captions = [attrs.evolve(h, logprob=logprob) for h, logprob in pairs]
            yield image, sorted(captions * (count // chains), key=lambda h: -h.score)

    def _rewrite(
        self,
        task: DecodingTask,
        judge: ImageTexts,
        mlm: MaskedLM,
        image: int,
        generator: np.random.Generator,
    ) -> tuple[str, float]:
        """Return the caption after the best sweep, with its similarity to the image."""
        ids, start = mlm.masked(self.config.prompt, self.config.length)
        best, cosine = ("", -torch.inf), 0.0
        for order in self._orders(generator):
            for place in order:
                cosine = self._fill(task, judge, mlm, image, ids, start, place)
            if cosine > best[1]:
                best = mlm.caption(ids[start : start + self.config.length]), cosine
        return best

    def _orders(self, generator: np.random.Generator) -> Iterator[list[int]]:
        """Yield the places of each sweep."""
        length = self.config.length
        order = list(range(length))
        if self.config.order == "shuffle":
            order = generator.permutation(length).tolist()
        for _ in range(self.config.sweeps):
            if self.config.order == "random":
                order = generator.integers(length, size=length).tolist()
            yield order

    def _fill(
        self,
        task: DecodingTask,
        judge: ImageTexts,
        mlm: MaskedLM,
        image: int,
        ids: Tensor,
        start: int,
        place: int,
    ) -> float:
        """Choose the token at a place of a text (L), which changes; return the new similarity."""
        config, end = self.config, start + self.config.length
        ids[start + place] = mlm.tokenizer.mask_token_id
        last = place + 1 == config.length
        probabilities, tokens = mlm.candidates(
            ids, start + place, config.top_k, config.temperature, end=last
        )
        if not bool(probabilities.isfinite().all()):
            names = {image: task.image_ids[image]}
            raise NonFiniteError(names, "the masked language model's probabilities")
        texts = []
        for token in tokens:
            ids[start + place] = token
            texts.append(with_prompt(config.prompt, mlm.caption(ids[start:end])))
        cosines = judge.cosines([image] * len(texts), texts)
        fit = (cosines / config.clip_temperature).softmax(-1)
        best = int((config.alpha * probabilities.cpu() + config.beta * fit).argmax())
        ids[start + place] = tokens[best]
        return float(cosines[best])


def _as_hypothesis(task: DecodingTask, text: str, score: float) -> Hypothesis:
    """Return a text as a caption of the task's language model, cut at its limit."""
    assert task.lm.tokenizer is not None
    tokens = task.lm.tokenizer.encode(text)[: task.max_new_tokens]
    stops = [place for place, token in enumerate(tokens) if token in task.stop_ids]
    if stops:
        tokens = tokens[: stops[0] + 1]
    elif len(tokens) < task.max_new_tokens and task.stop_ids:
        own = task.lm.eos_id
        tokens.append(own if own in task.stop_ids and own is not None else min(task.stop_ids))
    return task.hypothesis(tokens, 0.0, score)
