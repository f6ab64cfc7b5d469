"""A correct bridge, and its mutants."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prefixcap.interfaces.bridge import Bridge, Embeddings


class TwistedBridge(Bridge):
    """Subtracts the texts' mean from texts and the images' mean from images, with a twist."""

    def __init__(self, twist: str) -> None:
        self.twist = twist
        self.mean = torch.zeros(1)

    def learn(self, texts: Embeddings, images: Embeddings) -> Mapping[str, Tensor]:
        text, image = texts[: len(texts)], images[: len(images)]
        state = {"text": text.mean(0), "image": image.mean(0)}
        if self.twist == "pairs":
            state["image"] = (text[: len(image)].cumsum(0) * image).mean(0)
        if self.twist == "draws":
            state["text"] = text[torch.randint(len(text), (4,))].mean(0)
        if self.twist == "double":
            state["text"] = state["text"].double()
        if self.twist == "dotted":
            state["the.mean"] = state["text"]
        if self.twist == "hides":
            self.mean = 10 * state["text"]
        if self.twist == "own dice":
            dice = torch.Generator()
            dice.seed()
            state["text"] = state["text"] + torch.randn(text.shape[1], generator=dice)
        return state

    def text_side(
        self, texts: Tensor, learned: Mapping[str, Tensor], noise: Tensor | None
    ) -> Tensor:
        result = texts - learned["text"].float()
        if self.twist == "hides":
            result = result - self.mean
        if self.twist == "reads random state":
            return result + torch.randn_like(result)
        if self.twist == "batch norm":
            return result / (result.std(0, correction=0) + 1)
        if self.twist == "made here":
            return result + torch.ones(result.shape[1])
        if self.twist == "spoils":
            texts.add_(1)
        if self.twist == "half" and noise is not None:
            return (result + noise).half()
        return result if noise is None else result + 0.1 * noise

    def image_side(self, images: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        result = images - learned["image"]
        if self.twist == "deaf":
            return torch.zeros_like(result)
        return result[:, 1:] if self.twist == "narrow" else result

    def measure(self, images: Tensor, learned: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        length = images.norm(dim=-1)
        return {"length": length.mean() if self.twist == "one measure" else length}
