"""Pre-training of the small CLIP on pictures and captions of train scenes.

CLIP's contrastive loss (Radford et al. 2021, arXiv:2103.00020) plus two auxiliary losses that save
data and time: linear heads predict the scene's facts (kinds, colors, sizes, counts, relations)
from the embedding, and each patch's labels from its last state. The heads are not saved.
"""

from __future__ import annotations

import json
import math
import time
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prefixcap_scenes.captions import captions
from prefixcap_scenes.world import Scene, scenes
from torch import Tensor, nn
from torch.nn import functional as F

from scenes_pretrain.pictures import (
    PATCH,
    PATCH_LABELS,
    SIDE,
    all_facts,
    fact_table,
    patch_labels,
    pixels,
)
from scenes_pretrain.texts import SEED

EMBEDDING, VISION_WIDTH, VISION_LAYERS, TEXT_WIDTH, TEXT_LAYERS = 256, 128, 4, 64, 2
VOCABULARY, CONTEXT = 49408, 77
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
NAME = "scenes-clip.pt"
VISIBLE = 20
"""Number of patches that the vision tower sees in the first part of the training."""


class Data:
    """Pictures, token ids and labels of scenes, in memory.

    Args:
        chosen: The scenes.
    """

    def __init__(self, chosen: Sequence[Scene]) -> None:
        from clip import tokenize

        self.pixels = torch.from_numpy(np.stack([pixels(scene) for scene in chosen]))
        self.facts = torch.from_numpy(fact_table(chosen))
        self.patch_labels = torch.from_numpy(np.stack([patch_labels(scene) for scene in chosen]))
        texts = [text for scene in chosen for text in captions(scene)]
        ids = tokenize(texts).int()
        self.words = torch.tensor(sorted(set(ids.flatten().tolist())))
        short = ids[:, : int((ids > 0).sum(-1).max())].contiguous()
        self.ids = torch.searchsorted(self.words, short).view(len(chosen), 5, -1)

    def images(self, rows: Tensor) -> Tensor:
        """Return pictures as input of the vision tower (B,3,H,W)."""
        images = self.pixels[rows].permute(0, 3, 1, 2).float() / 255
        return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)

    def texts(self, rows: Tensor) -> Tensor:
        """Return a random caption of each scene (B,T), as indices into `words`."""
        return self.ids[rows, torch.randint(5, (len(rows),))]

    def visible(self, rows: Tensor) -> Tensor:
        """Choose the visible patches (B,K): those with an object first, then random ones."""
        occupied = self.patch_labels[rows].any(-1).float()
        return (occupied + torch.rand(occupied.shape)).topk(VISIBLE).indices


class Trainee(nn.Module):
    """CLIP with a reduced vocabulary, and the heads of the auxiliary losses.

    Args:
        words: Number of different tokens in the captions.
    """

    def __init__(self, words: int) -> None:
        super().__init__()
        from clip.model import CLIP

        self.clip: Any = CLIP(
            EMBEDDING, SIDE, VISION_LAYERS, VISION_WIDTH, PATCH, CONTEXT, words,
            TEXT_WIDTH, TEXT_WIDTH // 64, TEXT_LAYERS,
        )  # fmt: skip
        self.facts = nn.Linear(EMBEDDING, len(all_facts()))
        self.patch_labels = nn.Linear(VISION_WIDTH, len(PATCH_LABELS))
        nn.init.constant_(self.facts.bias, -4.0)
        nn.init.constant_(self.patch_labels.bias, -4.0)

    def encode_image(self, images: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return unit embeddings (B,D) and the patches' last states (B,N,W).

        Args:
            images: Pictures (B,3,H,W).
            visible: Patches to encode (B,K), or None for all. Masking speeds up the start of the
                training (Li et al. 2023, arXiv:2212.00794).
        """
        tower = self.clip.visual
        patches = tower.conv1(images).flatten(2).transpose(1, 2)
        patches = patches + tower.positional_embedding[1:]
        if visible is not None:
            patches = _select(patches, visible)
        first = (tower.class_embedding + tower.positional_embedding[0]).expand(len(images), 1, -1)
        states = tower.ln_pre(torch.cat([first, patches], 1))
        states = tower.ln_post(tower.transformer(states.transpose(0, 1)).transpose(0, 1))
        return F.normalize(states[:, 0] @ tower.proj, dim=-1), states[:, 1:]

    def losses(self, data: Data, rows: Tensor, masked: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return the contrastive loss and the auxiliary losses of facts and patch labels."""
        visible = data.visible(rows) if masked else None
        image, states = self.encode_image(data.images(rows), visible)
        text = F.normalize(self.clip.encode_text(data.texts(rows)), dim=-1)
        logits = self.clip.logit_scale.exp() * image @ text.t()
        same = torch.arange(len(rows))
        contrast = (F.cross_entropy(logits, same) + F.cross_entropy(logits.t(), same)) / 2
        facts = self.facts(image * math.sqrt(EMBEDDING))
        fact_loss = F.binary_cross_entropy_with_logits(facts, data.facts[rows].float())
        labels = data.patch_labels[rows].float()
        labels = labels if visible is None else _select(labels, visible)
        patch_loss = F.binary_cross_entropy_with_logits(self.patch_labels(states), labels)
        return contrast, fact_loss * facts.shape[-1], patch_loss * len(PATCH_LABELS)


def _select(patches: Tensor, visible: Tensor) -> Tensor:
    # (B,N,W) -> (B,K,W)
    return patches.gather(1, visible[..., None].expand(-1, -1, patches.shape[-1]))


def pretrain(
    out: Path, steps: int = 2000, batch: int = 64, count: int = 8_000, held_out: int = 1000
) -> None:
    """Train the CLIP and save its checkpoint.

    Args:
        out: Output folder.
        steps: Number of training steps.
        batch: Scenes per batch.
        count: Number of train scenes.
        held_out: Number of test scenes for the final retrieval scores.
    """
    torch.manual_seed(0)
    data = Data(list(islice(scenes("train", SEED), count)))
    trainee = Trainee(len(data.words))
    optimizer = torch.optim.AdamW(
        trainee.parameters(), lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.02
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, steps, pct_start=0.08)
    order = torch.cat([torch.randperm(count) for _ in range(steps * batch // count + 1)])
    start = time.monotonic()
    for step, rows in enumerate(order[: steps * batch].view(steps, batch)):
        with torch.autocast("cpu", torch.bfloat16):
            contrast, facts, patches = trainee.losses(data, rows, masked=step <= 0.7 * steps)
        loss = contrast + 0.5 * facts + 0.2 * patches
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        trainee.clip.logit_scale.data.clamp_(max=math.log(100))
        if step % 50 == 0 or step == steps - 1:
            print(
                f"clip step {step} of {steps}, {time.monotonic() - start:.0f} s: contrastive "
                f"{contrast.item():.3f}, facts {facts.item():.3f}, patches {patches.item():.3f}",
                flush=True,
            )
    save(out / NAME, trainee.clip, data.words)
    print(json.dumps(retrieval(out / NAME, held_out)), flush=True)


def save(path: Path, model: Any, words: Tensor) -> None:
    """Save a CLIP as a checkpoint in OpenAI's format: half precision, unused tokens zero.

    The archive is compressed because of the zeros; torch reads it like any other.
    """
    state = {name: value.detach().half().clone() for name, value in model.state_dict().items()}
    embedding = torch.zeros(VOCABULARY, TEXT_WIDTH, dtype=torch.half)
    embedding[words] = state["token_embedding.weight"]
    state["token_embedding.weight"] = embedding
    path.parent.mkdir(parents=True, exist_ok=True)
    uncompressed = path.with_suffix(".plain")
    torch.save(state, uncompressed)
    with zipfile.ZipFile(uncompressed) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            info = zipfile.ZipInfo(entry.filename, date_time=(1980, 1, 1, 0, 0, 0))
            target.writestr(info, source.read(entry), zipfile.ZIP_DEFLATED, 9)
    uncompressed.unlink()


@torch.no_grad()
def retrieval(path: Path, count: int = 1000, among: int = 100) -> dict[str, float]:
    """Return the top-1 retrieval accuracy on test scenes, in both directions.

    Args:
        path: The checkpoint.
        count: Number of test scenes.
        among: Number of candidates.
    """
    import clip

    model, _ = clip.load(str(path), device="cpu")
    data = Data(list(islice(scenes("test", 0), count)))
    groups = torch.arange(count).view(-1, among)
    target = torch.arange(among)
    accuracy = torch.zeros(2)
    for rows in groups:
        images = F.normalize(model.encode_image(data.images(rows)), dim=-1)
        texts = F.normalize(model.encode_text(data.words[data.ids[rows, 0]]), dim=-1)
        similarity = images @ texts.t()
        accuracy[0] += (similarity.argmax(1) == target).float().mean()
        accuracy[1] += (similarity.argmax(0) == target).float().mean()
    to_text, to_image = (accuracy / len(groups)).tolist()
    return {"image_to_text": to_text, "text_to_image": to_image}
