"""Pre-training of the small GPT-2 on captions of train scenes, text only.

A row is several captions of one scene, each followed by the end token. The model thus learns to
use its context to infer the scene, so that a prefix can condition it with its weights frozen. Rows
start at random positions, as captions do after prefixes of different lengths.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scenes_pretrain.texts import caption_sets

END = "<|endoftext|>"
WIDTH, LAYERS, HEADS, POSITIONS = 128, 4, 4, 128
ROW = 84


def pretrain(out: Path, steps: int = 600, batch: int = 32, scenes: int = 30_000) -> None:
    """Train the tokenizer and the model, and save both as a transformers folder.

    Args:
        out: Output folder.
        steps: Number of training steps.
        batch: Rows per batch.
        scenes: Number of train scenes.
    """
    torch.manual_seed(0)
    sets = caption_sets("train", scenes)
    tokenizer = train_tokenizer([text for texts in sets for text in texts])
    model = untrained_model(tokenizer)
    rows = torch.stack([row_of(tokenizer, texts) for texts in sets])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    for step in range(steps):
        model.train()
        ids = rows[torch.randint(len(rows), (batch,))]
        loss = row_loss(model, ids, tokenizer.eos_token_id)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"gpt2 step {step} of {steps}, loss {loss.item():.3f}", flush=True)
    save(out, model, tokenizer)
    held_out = perplexity(model, tokenizer, caption_sets("test", 500))
    print(json.dumps({"perplexity": held_out}), flush=True)


def train_tokenizer(texts: list[str]) -> Any:
    """Train a byte-level BPE tokenizer, as GPT-2 has, on texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer_class: Any = PreTrainedTokenizerFast
    return tokenizer_class(tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END)


def untrained_model(tokenizer: Any) -> Any:
    """Build the GPT-2 with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    end = tokenizer.eos_token_id
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer), n_positions=POSITIONS, n_embd=WIDTH, n_layer=LAYERS,
            n_head=HEADS, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            bos_token_id=end, eos_token_id=end,
        )
    )  # fmt: skip


def row_of(tokenizer: Any, texts: tuple[str, ...]) -> Tensor:
    """Join captions into a row of token ids (ROW), truncated or padded with end tokens."""
    ids = [tokenizer.eos_token_id]
    for text in texts:
        ids += [*tokenizer.encode(text), tokenizer.eos_token_id]
    return torch.tensor((ids + [tokenizer.eos_token_id] * ROW)[:ROW])


def row_loss(model: Any, ids: Tensor, end: int) -> Tensor:
    """Return the mean cross-entropy of rows (B,T) without the padding."""
    offsets = torch.randint(POSITIONS - ROW + 1, (len(ids), 1))
    positions = torch.arange(ROW)[None] + offsets
    logits = model(
        input_ids=ids, position_ids=positions, attention_mask=torch.ones_like(ids)
    ).logits
    not_padding = ~((ids[:, 1:] == end) & (ids[:, :-1] == end))
    return torch.nn.functional.cross_entropy(logits[:, :-1][not_padding], ids[:, 1:][not_padding])


@torch.no_grad()
def perplexity(model: Any, tokenizer: Any, sets: list[tuple[str, ...]]) -> float:
    """Return the perplexity per token of each scene's first caption, end token included."""
    model.eval()
    total, count = 0.0, 0
    for texts in sets:
        ids = row_of(tokenizer, texts[:1])[None]
        length = len(tokenizer.encode(texts[0])) + 2
        logits = model(input_ids=ids[:, :length]).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:length], reduction="sum")
        total, count = total + loss.item(), count + length - 1
    return math.exp(total / count)


def save(out: Path, model: Any, tokenizer: Any) -> None:
    """Save the model in half precision and the tokenizer for `from_pretrained`."""
    import copy

    out.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).half().save_pretrained(out)
    tokenizer.save_pretrained(out)
