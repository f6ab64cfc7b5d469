"""Pre-trains the small CLIP on pictures and captions of train scenes.

The loss is CLIP's contrastive loss (Radford et al. 2021, https://arxiv.org/abs/2103.00020), plus
two that make up for data and time: the embedding tells by linear readout what is true of the scene
(which kinds, colours, sizes, counts and relations), and each patch's last state tells what is to
be seen there. Their readouts are thrown away; what is saved has the two towers alone.
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
from torch import Tensor, nn
from torch.nn import functional as F

from prefixcap.util import runtime
from prefixcap_scenes.captions import captions
from prefixcap_scenes.pretrain.pictures import (
    PATCH,
    SIDE,
    SIGHTS,
    all_facts,
    fact_table,
    pixels,
    sights,
)
from prefixcap_scenes.pretrain.texts import SEED
from prefixcap_scenes.world import Scene, scenes

EMBEDDING, VISION_WIDTH, VISION_LAYERS, TEXT_WIDTH, TEXT_LAYERS = 256, 128, 4, 64, 2
VOCABULARY, CONTEXT = 49408, 77
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
NAME = "scenes-clip.pt"
KEPT = 20
"""How many patches of a picture the vision tower sees in the first part of the training."""


class Data:
    """Pictures, token ids and targets of scenes, in memory.

    Args:
        chosen: the scenes.
    """

    def __init__(self, chosen: Sequence[Scene]) -> None:
        from clip import tokenize

        self.pixels = torch.from_numpy(np.stack([pixels(scene) for scene in chosen]))
        self.facts = torch.from_numpy(fact_table(chosen))
        self.sights = torch.from_numpy(np.stack([sights(scene) for scene in chosen]))
        texts = [text for scene in chosen for text in captions(scene)]
        ids = tokenize(texts).int()
        self.words = torch.tensor(sorted(set(ids.flatten().tolist())))
        short = ids[:, : int((ids > 0).sum(-1).max())].contiguous()
        self.ids = torch.searchsorted(self.words, short).view(len(chosen), 5, -1)

    def images(self, rows: Tensor) -> Tensor:
        """Returns pictures as the vision tower takes them (B,3,H,W)."""
        images = self.pixels[rows].permute(0, 3, 1, 2).float() / 255
        return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)

    def texts(self, rows: Tensor) -> Tensor:
        """Returns one of each scene's captions (B,T), as numbers in the list of words."""
        return self.ids[rows, torch.randint(5, (len(rows),))]

    def kept(self, rows: Tensor) -> Tensor:
        """Draws the patches to see (B,K): those with a thing first, and some of the rest."""
        busy = self.sights[rows].any(-1).float()
        return (busy + torch.rand(busy.shape)).topk(KEPT).indices


class Trainee(nn.Module):
    """The CLIP, with only the words that it needs, and the two readouts that help to train it.

    Args:
        words: how many different tokens the captions have.
    """

    def __init__(self, words: int) -> None:
        super().__init__()
        from clip.model import CLIP

        self.clip: Any = CLIP(
            EMBEDDING, SIDE, VISION_LAYERS, VISION_WIDTH, PATCH, CONTEXT, words,
            TEXT_WIDTH, TEXT_WIDTH // 64, TEXT_LAYERS,
        )  # fmt: skip
        self.facts = nn.Linear(EMBEDDING, len(all_facts()))
        self.sights = nn.Linear(VISION_WIDTH, len(SIGHTS))
        nn.init.constant_(self.facts.bias, -4.0)
        nn.init.constant_(self.sights.bias, -4.0)

    def see(self, images: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns unit embeddings (B,D) and the patches' last states (B,N,W) of pictures.

        Args:
            images: (B,3,H,W).
            kept: the patches to look at (B,K), where not all: a quicker start of the training
                (Li et al. 2023, "Scaling language-image pre-training via masking").
        """
        tower = self.clip.visual
        patches = tower.conv1(images).flatten(2).transpose(1, 2)
        patches = patches + tower.positional_embedding[1:]
        if kept is not None:
            patches = _taken(patches, kept)
        first = (tower.class_embedding + tower.positional_embedding[0]).expand(len(images), 1, -1)
        states = tower.ln_pre(torch.cat([first, patches], 1))
        states = tower.ln_post(tower.transformer(states.transpose(0, 1)).transpose(0, 1))
        return F.normalize(states[:, 0] @ tower.proj, dim=-1), states[:, 1:]

    def losses(self, data: Data, rows: Tensor, whole: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the contrastive loss, the facts' and the sights', of whole pictures or parts."""
        kept = None if whole else data.kept(rows)
        image, states = self.see(data.images(rows), kept)
        text = F.normalize(self.clip.encode_text(data.texts(rows)), dim=-1)
        logits = self.clip.logit_scale.exp() * image @ text.t()
        same = torch.arange(len(rows))
        contrast = (F.cross_entropy(logits, same) + F.cross_entropy(logits.t(), same)) / 2
        facts = self.facts(image * math.sqrt(EMBEDDING))
        told = F.binary_cross_entropy_with_logits(facts, data.facts[rows].float())
        there = data.sights[rows].float()
        there = there if kept is None else _taken(there, kept)
        seen = F.binary_cross_entropy_with_logits(self.sights(states), there)
        return contrast, told * facts.shape[-1], seen * len(SIGHTS)


def _taken(patches: Tensor, kept: Tensor) -> Tensor:
    """Takes the patches (B,K) of (B,N,W)."""
    return patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))


def pretrain(
    out: Path, steps: int = 2000, batch: int = 64, count: int = 8_000, held_out: int = 1000
) -> None:
    """Trains the CLIP and saves its checkpoint.

    Args:
        out: the folder for the checkpoint; it is made where it is not there.
        steps: how many batches to train for.
        batch: the scenes of a batch.
        count: how many train scenes there are.
        held_out: how many test scenes to measure the retrieval on at the end.
    """
    runtime.patch_torchvision()
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
            contrast, told, seen = trainee.losses(data, rows, whole=step > 0.7 * steps)
        loss = contrast + 0.5 * told + 0.2 * seen
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        trainee.clip.logit_scale.data.clamp_(max=math.log(100))
        if step % 50 == 0 or step == steps - 1:
            print(
                f"clip step {step} of {steps}, {time.monotonic() - start:.0f} s: contrastive "
                f"{contrast.item():.3f}, facts {told.item():.3f}, sights {seen.item():.3f}",
                flush=True,
            )
    save(out / NAME, trainee.clip, data.words)
    print(json.dumps(retrieval(out / NAME, held_out)), flush=True)


def save(path: Path, model: Any, words: Tensor) -> None:
    """Saves a CLIP as a checkpoint in OpenAI's format: half precision, unused words zero.

    The archive is compressed, so that the zeros cost nothing; torch reads it like any other.
    """
    state = {name: value.detach().half().clone() for name, value in model.state_dict().items()}
    every = torch.zeros(VOCABULARY, TEXT_WIDTH, dtype=torch.half)
    every[words] = state["token_embedding.weight"]
    state["token_embedding.weight"] = every
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_suffix(".plain")
    torch.save(state, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            fixed = zipfile.ZipInfo(entry.filename, date_time=(1980, 1, 1, 0, 0, 0))
            target.writestr(fixed, source.read(entry), zipfile.ZIP_DEFLATED, 9)
    plain.unlink()


@torch.no_grad()
def retrieval(path: Path, count: int = 1000, among: int = 100) -> dict[str, float]:
    """Measures a checkpoint on test scenes: the right one first among 100, both ways.

    Args:
        path: the checkpoint.
        count: how many test scenes to take.
        among: how many stand to choice each time.
    """
    runtime.patch_torchvision()
    import clip

    model, _ = clip.load(str(path), device="cpu")
    data = Data(list(islice(scenes("test", 0), count)))
    parts = torch.arange(count).view(-1, among)
    right = torch.arange(among)
    found = torch.zeros(2)
    for rows in parts:
        images = F.normalize(model.encode_image(data.images(rows)), dim=-1)
        texts = F.normalize(model.encode_text(data.words[data.ids[rows, 0]]), dim=-1)
        likeness = images @ texts.t()
        found[0] += (likeness.argmax(1) == right).float().mean()
        found[1] += (likeness.argmax(0) == right).float().mean()
    to_text, to_image = (found / len(parts)).tolist()
    return {"image_to_text": to_text, "text_to_image": to_image}
