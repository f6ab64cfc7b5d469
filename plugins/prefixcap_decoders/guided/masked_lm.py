"""A masked language model of transformers, with the places of a caption in a text."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from prefixcap.errors import PrefixcapError, nearest
from prefixcap.util.words import is_letter


@attrs.frozen
class MaskedLM:
    """A masked language model with its tokenizer.

    Attributes:
        name: Its folder or name, for messages.
        model: The model of transformers.
        tokenizer: The tokenizer of transformers.
        words: (V), whether a token may be part of a caption: it has a letter or a digit and is not
            special, as "[CLS]" and "[unused1]" are.
        full_stop: The token ".", which may end a caption, if there is one.
    """

    name: str
    model: Any
    tokenizer: Any
    words: Tensor
    full_stop: int | None

    def masked(self, prompt: str, length: int) -> tuple[Tensor, int]:
        """Return the token ids (L) of a prompt and a caption of masks, and the caption's place.

        Raises:
            PrefixcapError: If the model has too few positions.
        """
        mask = self.tokenizer.mask_token_id
        text = f"{prompt} {self.tokenizer.mask_token * length}".strip()
        ids = torch.tensor(self.tokenizer.encode(text), device=self.model.device)
        places = (ids == mask).nonzero().flatten().tolist()
        if places != list(range(places[0], places[0] + length)):
            raise PrefixcapError(f"conzic: prompt={prompt!r} holds a mask of {self.name!r}")
        most = getattr(self.model.config, "max_position_embeddings", None)
        if most is not None and len(ids) > most:
            raise PrefixcapError(
                f"conzic: the prompt and length={length} need {len(ids)} positions, and "
                f"{self.name!r} has {most}: lower length"
            )
        return ids, places[0]

    def candidates(
        self, ids: Tensor, place: int, count: int, temperature: float, *, end: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the likeliest tokens (C) for a masked place of a text (L), with probabilities.

        Tokens that cannot be part of a caption are left out, and the others keep their
        probabilities (C), which may be 0 at low temperatures.

        Args:
            ids: The text.
            place: The place.
            count: The maximum of C.
            temperature: Divisor of the logits.
            end: Whether it is the caption's last place, where a full stop is allowed.
        """
        logits = self.model(ids[None]).logits[0, place].float()
        allowed = self.words.clone()
        if end and self.full_stop is not None:
            allowed[self.full_stop] = True
        own = logits[: len(allowed)].masked_fill(~allowed, -torch.inf)
        tokens = own.topk(min(count, int(allowed.sum()))).indices
        return (logits / temperature).softmax(-1)[tokens], tokens

    def caption(self, ids: Tensor) -> str:
        """Return the text of a caption's token ids (T)."""
        text: str = self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        return text.strip()


@lru_cache(maxsize=2)
def load_masked(name: str, device: str) -> MaskedLM:
    """Load a masked language model; only safetensors are read, and no code of its own is run.

    Raises:
        PrefixcapError: If there is none, or it cannot be loaded.
    """
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    source = str(Path(name).expanduser()) if Path(name).expanduser().exists() else name
    _check_path(name)
    kinds: tuple[Any, Any] = AutoModelForMaskedLM, AutoTokenizer
    try:
        # what is loaded stays, and must not be bound to the mode of the first call
        with torch.inference_mode(False):
            model = kinds[0].from_pretrained(source, trust_remote_code=False, use_safetensors=True)
            tokenizer = kinds[1].from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise PrefixcapError(
            f"conzic: the masked language model mlm={name!r} cannot be loaded: {reason}"
        ) from error
    if tokenizer.mask_token_id is None:
        raise PrefixcapError(
            f"conzic: the tokenizer of mlm={name!r} has no mask token: use a masked language "
            "model such as BERT"
        )
    size = min(len(tokenizer), model.config.vocab_size)
    pieces = tokenizer.convert_ids_to_tokens(list(range(size)))
    special = set(tokenizer.all_special_ids)
    words = [
        number not in special and any(map(is_letter, piece)) and not _is_bracketed(piece)
        for number, piece in enumerate(pieces)
    ]
    if not any(words):
        raise PrefixcapError(f"conzic: the tokenizer of mlm={name!r} has no token with a letter")
    return MaskedLM(
        name,
        model.eval().to(device),
        tokenizer,
        torch.tensor(words, device=device),
        pieces.index(".") if "." in pieces else None,
    )


def _is_bracketed(piece: str) -> bool:
    return piece[:1] == "[" and piece[-1:] == "]"


def _check_path(name: str) -> None:
    """Raise if a path does not exist, before it is looked up on the hub."""
    path = Path(name).expanduser()
    if path.exists() or not (name.startswith((".", "/", "~")) or name.count("/") > 1):
        return
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = nearest(path.name, names) if names else ""
    raise PrefixcapError(f"conzic: mlm={name!r} does not exist{hint}")
