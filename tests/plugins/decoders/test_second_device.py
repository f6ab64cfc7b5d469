"""Every decoder works with a language model on another device than the CPU."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from decoder_models import prefixes, seen, small_model
from second_device import PLACE, Elsewhere, moved, second_device

import prefixcap
from prefixcap.engine.architectures import GPT2Network, LlamaNetwork
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.engine.network import Network
from prefixcap.engine.transformers_network import TransformersNetwork
from prefixcap.engine.trials import agrees
from prefixcap.interfaces.language_model import Tokenizer
from prefixcap.plugin.registry import default_registry

torch.set_num_threads(1)
END = 5
SETTINGS = {
    "beam": "num_beams=3",
    "best-of": "samples=4",
    "constrained": "force_words=b|c,bad_words=d",
    "mbr": "samples=4",
    "zerocap": "num_beams=2,iterations=1",
}
NAMES = [name for name in default_registry().names("decoder") if name != "conzic"]
DECODERS = [f"{name}:{SETTINGS[name]}" if name in SETTINGS else name for name in NAMES]
# of the ways in which sessions are used
SESSIONS = ("beam", "top-p", "contrastive", "dola", "speculative")


class Letters(Tokenizer):
    def encode(self, text: str) -> list[int]:
        return [ord(letter) - 97 for letter in text if letter.isalpha()]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(chr(97 + i) for i in ids)


class LettersLM(CausalLM):
    @property
    def tokenizer(self) -> Tokenizer:
        return Letters()


def model(family: str) -> Any:
    result = small_model(family)
    result.config.eos_token_id = result.generation_config.eos_token_id = END
    return result


def captions(lm: Any, prefix: torch.Tensor, decoder: str) -> list[Any]:
    result = prefixcap.decode(
        LettersLM(lm), prefix, decoder, n=2 if decoder == "sample" else 1, max_new_tokens=6,
        stop_ids=(END,), seed=1, **seen(len(prefix)),
    )  # fmt: skip
    return [
        [(each.ids, each.text, each.finish_reason, each.score) for each in one] for one in result
    ]


@pytest.mark.parametrize(
    ("decoder", "family"),
    [
        *((decoder, "gpt2") for decoder in DECODERS),
        *((name, family) for name in SESSIONS for family in ("llama", "bloom")),
    ],
)
def test_captions_are_the_same_on_another_device(decoder: str, family: str) -> None:
    here, prefix = model(family), prefixes(3)
    there = moved(copy.deepcopy(here))
    wanted = captions(here, prefix, decoder)
    with second_device():
        result = captions(there, Elsewhere(prefix), decoder)
    for ours, theirs in zip(result, wanted, strict=True):
        assert [each[:3] for each in ours] == [each[:3] for each in theirs]
        np.testing.assert_allclose([e[3] for e in ours], [e[3] for e in theirs], atol=1e-4)


@pytest.mark.parametrize(
    ("family", "kind"),
    [("gpt2", GPT2Network), ("llama", LlamaNetwork), ("gpt2", TransformersNetwork)],
)
def test_no_network_is_lost_on_another_device(family: str, kind: type[Network]) -> None:
    there = moved(model(family))
    with second_device(), torch.no_grad():
        network = kind(there)  # type: ignore[call-arg]
        assert network.shape.device == PLACE
        assert agrees(network, there)


def test_the_second_device_cannot_be_mixed_with_the_processor() -> None:
    with second_device():
        there = torch.zeros(2, device=PLACE)
        assert there.tolist() == (there + torch.tensor(0.0)).tolist() == [0, 0]
        assert (there + torch.tensor([1.0, 2.0], device=PLACE)).cpu().numpy().tolist() == [1, 2]
        for mixed in (lambda: there + torch.zeros(2), lambda: torch.cat([there, torch.ones(1)])):
            with pytest.raises(RuntimeError, match="tensors of two devices"):
                mixed()
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        with pytest.raises(RuntimeError, match="a generator of another device"):
            torch.rand(2, device=PLACE, generator=torch.Generator())
