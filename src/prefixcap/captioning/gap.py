"""The gap between the embeddings of texts and of images, before and after a bridge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from prefixcap.captioning.bridging import Bridging
    from prefixcap.captioning.feature_rows import AnyFeatures

MOST_IMAGES = 1000
"""The number of images, the first ones, that are measured."""
RANKS = (1, 5)


def measure_gap(
    bridge: Bridging,
    images: AnyFeatures,
    texts: AnyFeatures,
    captions: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Measure the gap between images and their own captions.

    Args:
        bridge: The bridge, in evaluation mode.
        images: (B,D).
        texts: (T,D), of the captions of the first image, then the second, and so on.
        captions: B lists of captions.

    Returns:
        "images" and "captions", how many were measured; "before" and "after" the bridge, see
        `gap_of`; and "measures", the means of the bridge's own numbers about images.
    """
    counts = torch.tensor([len(each) for each in captions[:MOST_IMAGES]])
    rows = torch.arange(len(counts)).repeat_interleave(counts)
    device = next(bridge.buffers(), torch.empty(0)).device
    with torch.no_grad():
        image = images[: len(counts)].float().to(device)
        text = texts[: len(rows)].float().to(device)
        own = bridge.measure(image)
        after = gap_of(bridge.image_side(image).cpu(), bridge.text_side(text).cpu(), rows)
        before = gap_of(normalize(image, dim=-1).cpu(), normalize(text, dim=-1).cpu(), rows)
    return {
        "images": len(counts),
        "captions": len(rows),
        "before": before,
        "after": after,
        "measures": {name: values.mean().item() for name, values in own.items()},
    }


def gap_of(images: Tensor, texts: Tensor, rows: Tensor) -> dict[str, float]:
    """Measure images (B,D) and texts (T,D), of which text i describes image `rows[i]`.

    Returns:
        "mean distance", the squared distance between the means over pairs, and "mean distance per
        dimension"; "residual per dimension", the mean square of what is left of the pairs'
        differences without that of the means; "cosine", the mean of the pairs; and the shares "R@1"
        and "R@5" of texts whose image is among the most similar images ("text to image") and of
        images of which a text is among the most similar texts ("image to text"). An image or a
        text that is as similar counts as more similar.
    """
    difference = texts - images[rows]
    mean = difference.mean(0)
    units, targets = normalize(images, dim=-1), normalize(texts, dim=-1)
    cosines = targets @ units.T  # (T,B)
    own = torch.zeros_like(cosines, dtype=torch.bool)
    own[torch.arange(len(rows)), rows] = True
    pairs = cosines[own]
    best = cosines.masked_fill(~own, -torch.inf).amax(0)
    others = cosines.masked_fill(own, -torch.inf)
    ranks = {
        "text to image": (others >= pairs[:, None]).sum(1),
        "image to text": (others >= best).sum(0)[best > -torch.inf],
    }
    return {
        "mean distance": mean.square().sum().item(),
        "mean distance per dimension": mean.square().mean().item(),
        "residual per dimension": (difference - mean).square().mean().item(),
        "cosine": pairs.mean().item(),
        **{
            f"{way} R@{k}": (rank < k).float().mean().item()
            for way, rank in ranks.items()
            for k in RANKS
        },
    }
