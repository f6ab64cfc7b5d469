"""The loss of captions that share prefixes, through transformers' own code."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prefixcap.engine.prefixes.caches import call_arguments
from prefixcap.engine.prefixes.inputs import PrefixInputs
from prefixcap.engine.ragged_batch import additive_mask
from prefixcap.engine.teacher_forcing.caption_tree import CaptionTree
from prefixcap.engine.teacher_forcing.cross_entropy import linear_cross_entropy
from prefixcap.engine.teacher_forcing.frozen_linear import frozen_linear
from prefixcap.engine.transformers_network import NEEDED, is_causal_mask

# Models whose logits are the head's product with the last hidden states, and nothing else.
_PLAIN = (
    *("GPT2LMHeadModel", "OPTForCausalLM", "GPTNeoXForCausalLM", "PhiForCausalLM"),
    *("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"),
    *("GemmaForCausalLM", "Phi3ForCausalLM"),
)


def takes_trees(model: Any) -> bool:
    """Return whether a model takes what tells the captions of a row apart.

    Windowed attention does not: it goes by columns, and those of captions are not consecutive.
    """
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is None and getattr(config, "sliding_window", None) is not None:
        return False
    if set(kinds or ()) - {"full_attention"} or any(map(is_causal_mask, model.buffers())):
        return False
    parameters = inspect.signature(model.forward).parameters
    return all(name in parameters for name in NEEDED)


def tree_loss(model: Any, given: PrefixInputs, tree: CaptionTree) -> Tensor:
    """Compute the summed cross-entropy (), float32, of the captions behind prefixes."""
    prefix = given.embeddings.to(model.dtype)
    inputs = {
        "inputs_embeds": tree.embedded(prefix, model.get_input_embeddings()(tree.input_ids)),
        "attention_mask": additive_mask(tree.seen, prefix.dtype),
        "position_ids": tree.positions,
        "use_cache": False,
        **call_arguments(model, given, keep=False),
    }
    if not _has_plain_head(model):
        logits = model(**inputs).logits.flatten(0, 1)[tree.predictors]
        return F.cross_entropy(logits.float(), tree.targets, reduction="sum")
    states = model.base_model(**inputs).last_hidden_state.flatten(0, 1)
    places, rows = torch.unique(tree.predictors, return_inverse=True)
    head = model.get_output_embeddings()
    return linear_cross_entropy(
        states[places], head.weight, head.bias, rows, tree.targets, frozen_linear(head)
    )


def _has_plain_head(model: Any) -> bool:
    kind, head = type(model), model.get_output_embeddings()
    own = kind.__module__.startswith("transformers.") and kind.__name__ in _PLAIN
    # accelerate's hook moves the inputs and the weights of a head on another device
    if not own or type(head) is not nn.Linear:
        return False
    return not (head._forward_hooks or head._forward_pre_hooks or "_hf_hook" in vars(head))
