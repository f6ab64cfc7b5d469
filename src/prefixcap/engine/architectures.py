"""The layers of common architectures written out, with few calls per layer and packed weights.

`NativeNetwork` runs the layers; GPT-2, Llama and OPT each define a layer and positions. The logits
equal those of transformers, which `network_selection` checks before a network is used.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from prefixcap.engine.kv_cache import CacheShape
from prefixcap.engine.linear import PackedLinear
from prefixcap.engine.lm_head import LMHead
from prefixcap.engine.network import Network, StepOutput
from prefixcap.engine.ragged_batch import Prefill, RaggedBatch
from prefixcap.interfaces.sessions.ranking_session import TopTokens

Attend = Callable[[int, Tensor, Tensor, Tensor, float], Tensor]
Layer = Callable[..., Tensor]

_ALL = slice(None)


class NativeNetwork(Network):
    """The base of networks whose layers are computed here, on a copy of the model's weights.

    Args:
        model: The model, for its head.
        tokens: (V,E), the token embeddings.
        layers: Each maps its number, (R,E), the attention, the wanted rows, and the further
            results of `placed` to the output of the wanted rows; for the other rows it computes
            only keys and values.
        norm: The normalization of the last layer's output.
        heads: The number of key-value heads.
        width: The width of a head.
    """

    def __init__(
        self,
        model: Any,
        tokens: Tensor,
        layers: Sequence[Layer],
        norm: Layer,
        heads: int,
        width: int,
    ) -> None:
        self.shape = CacheShape(
            layers=len(layers),
            heads=heads,
            width=width,
            vocab_size=len(tokens),
            dtype=tokens.dtype,
            device=tokens.device,
        )
        self._tokens = tokens.detach()
        self._layers = layers
        self._norm = norm
        self._head = LMHead(model.lm_head.weight, model.lm_head.bias)

    @abstractmethod
    def placed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """Apply positions (R) to embeddings (R,E).

        Returns:
            The first layer's input (R,E), and further inputs of every layer.
        """

    @override
    def prefill(self, prefix: Tensor, into: Prefill, hidden: bool) -> StepOutput:
        images, length, _ = prefix.shape
        positions = torch.arange(length, device=prefix.device).repeat(images)
        # (b,P,E) -> (b*P,E); only the last position of each prefix needs an output.
        x, ends = prefix.flatten(0, 1), slice(length - 1, images * length, length)
        if not hidden:
            return StepOutput(self._run(x, positions, into.attend, [], ends))
        trace: list[Tensor] = []
        states = self._run(x, positions, into.attend, trace)
        output = self._output([states, *trace], ends, hidden)
        prefix_states = torch.unflatten(states, 0, (images, length))
        return StepOutput(output.last, output.hidden, prefix_states)

    @override
    def step(self, tokens: Tensor, batch: RaggedBatch, hidden: bool) -> StepOutput:
        trace: list[Tensor] = []
        x = F.embedding(tokens, self._tokens)
        states = self._run(x, batch.positions, batch.attend, trace)
        return self._output([states, *trace], batch.order, hidden)

    def _run(
        self, x: Tensor, positions: Tensor, attend: Attend, trace: list[Tensor], rows: slice = _ALL
    ) -> Tensor:
        """Run all layers and add their inputs (R,E) to the trace; return the output of `rows`."""
        x, *others = self.placed(x, positions)
        for number, layer in enumerate(self._layers):
            trace.append(x)
            output_rows = rows if number == len(self._layers) - 1 else _ALL
            x = layer(number, x, attend, output_rows, *others)
        states: Tensor = self._norm(x)
        return states

    def _output(
        self, states: Sequence[Tensor], rows: Tensor | slice | None, hidden: bool
    ) -> StepOutput:
        selected = states if hidden else states[:1]
        last, *others = selected if rows is None else [state[rows] for state in selected]
        return StepOutput(last, (*others, last) if hidden else ())

    @override
    def logits(self, last: Tensor) -> Tensor:
        return self._head.logits(last)

    @override
    def top_tokens(self, last: Tensor, count: int) -> TopTokens:
        return self._head.top_tokens(last, count)


class GPT2Network(NativeNetwork):
    """GPT-2 (Radford 2019), as transformers' `GPT2LMHeadModel` computes it."""

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.transformer
        width = config.n_embd // config.n_head
        layers = [_GPT2Layer(block, config, width) for block in body.h]
        super().__init__(model, body.wte.weight, layers, body.ln_f, config.n_head, width)
        self._positions = body.wpe.weight.detach()

    @override
    def placed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        return (x + F.embedding(positions, self._positions),)


class _JointLayer:
    """A layer with one product for queries, keys and values, and a plain feed-forward part."""

    width: int
    scale: float
    norm_1: Layer
    norm_2: Layer
    inward: PackedLinear
    outward: PackedLinear
    up: PackedLinear
    down: PackedLinear

    def __call__(self, number: int, x: Tensor, attend: Attend, rows: slice) -> Tensor:
        # (R,E) -> (R,3*E) -> (R,3,H,D)
        heads = torch.unflatten(self.inward(self.norm_1(x)), 1, (3, -1, self.width))
        mixed = attend(number, heads[:, 0], heads[:, 1], heads[:, 2], self.scale)
        x = self.outward.plus(mixed[rows], x[rows])
        return self.down.plus(self.up(self.norm_2(x)), x)


class _GPT2Layer(_JointLayer):
    def __init__(self, block: Any, config: Any, width: int) -> None:
        self.width = width
        self.scale = float(block.attn.scaling)
        self.norm_1, self.norm_2 = block.ln_1, block.ln_2

        def conv(module: Any, activation: str | None = None) -> PackedLinear:
            return PackedLinear(module.weight, module.bias, transposed=True, activation=activation)

        self.inward, self.outward = conv(block.attn.c_attn), conv(block.attn.c_proj)
        self.up = conv(block.mlp.c_fc, config.activation_function)
        self.down = conv(block.mlp.c_proj)


class OPTNetwork(NativeNetwork):
    """OPT (Zhang 2022) with the norm before each part, as in all sizes except 350m."""

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.model.decoder
        heads = config.num_attention_heads
        width = config.hidden_size // heads
        layers = [_OPTLayer(layer, config, width) for layer in body.layers]
        tokens = body.embed_tokens.weight
        super().__init__(model, tokens, layers, body.final_layer_norm, heads, width)
        self._positions = body.embed_positions.weight.detach()
        self._offset = int(body.embed_positions.offset)

    @override
    def placed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        return (x + F.embedding(positions + self._offset, self._positions),)


class _OPTLayer(_JointLayer):
    def __init__(self, layer: Any, config: Any, width: int) -> None:
        attention, activation = layer.self_attn, config.activation_function
        self.width = width
        self.scale = float(attention.scaling)
        self.norm_1, self.norm_2 = layer.self_attn_layer_norm, layer.final_layer_norm
        self.inward = _side_by_side(attention.q_proj, attention.k_proj, attention.v_proj)
        self.outward = PackedLinear(attention.out_proj.weight, attention.out_proj.bias)
        self.up = PackedLinear(layer.fc1.weight, layer.fc1.bias, activation=activation)
        self.down = PackedLinear(layer.fc2.weight, layer.fc2.bias)


class LlamaNetwork(NativeNetwork):
    """Llama (Touvron 2023) and relatives: Qwen2, Qwen3, Mistral, SmolLM2; grouped heads too."""

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.model
        width = body.layers[0].self_attn.head_dim
        layers = [_LlamaLayer(layer, config, width) for layer in body.layers]
        tokens, heads = body.embed_tokens.weight, config.num_key_value_heads
        super().__init__(model, tokens, layers, body.norm, heads, width)
        self._rotary = body.rotary_emb

    @override
    def placed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        cos, sin = self._rotary(x[None], positions[None])
        return x, cos[0][:, None], sin[0][:, None]  # (1,R,D) -> (R,1,D), for all heads


class _LlamaLayer:
    def __init__(self, layer: Any, config: Any, width: int) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.width = width
        self.queries, self.keys = config.num_attention_heads, config.num_key_value_heads
        self.scale = float(attention.scaling)
        self.norm_1, self.norm_2 = layer.input_layernorm, layer.post_attention_layernorm
        self.norm_q = getattr(attention, "q_norm", None)
        self.norm_k = getattr(attention, "k_norm", None)
        self.inward = _side_by_side(attention.q_proj, attention.k_proj, attention.v_proj)
        self.outward = PackedLinear(attention.o_proj.weight, attention.o_proj.bias)
        self.up = _side_by_side(mlp.gate_proj, mlp.up_proj)
        self.down = PackedLinear(mlp.down_proj.weight, mlp.down_proj.bias)
        self.act = mlp.act_fn

    def __call__(
        self, number: int, x: Tensor, attend: Attend, rows: slice, cos: Tensor, sin: Tensor
    ) -> Tensor:
        # (R,E) -> (R,(H+2*K)*D) -> (R,H+2*K,D)
        heads = torch.unflatten(self.inward(self.norm_1(x)), 1, (-1, self.width))
        query, key, value = torch.split(heads, [self.queries, self.keys, self.keys], 1)
        if self.norm_q is not None and self.norm_k is not None:
            query, key = self.norm_q(query), self.norm_k(key)
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
        mixed = attend(number, query, key, value, self.scale)
        x = self.outward.plus(mixed[rows], x[rows])
        gate, up = self.up(self.norm_2(x)).chunk(2, 1)
        return self.down.plus(self.act(gate) * up, x)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def _side_by_side(*modules: Any) -> PackedLinear:
    """Merge linear layers with the same input into one."""
    weight = torch.cat([module.weight.detach() for module in modules])
    biases = [module.bias for module in modules]
    bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
    return PackedLinear(weight, bias)
