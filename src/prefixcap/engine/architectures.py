"""Steps written out for the common architectures, with few calls a layer and packed weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prefixcap.engine.linear import PackedLinear
from prefixcap.engine.lm_head import LMHead
from prefixcap.engine.network import CacheShape, Network, StepOutput
from prefixcap.engine.ragged_batch import Prefill, RaggedBatch
from prefixcap.engine.top_tokens import TopTokens

Attend = Callable[[int, Tensor, Tensor, Tensor, float], Tensor]
Layer = Callable[..., Tensor]

_ALL = slice(None)


class NativeNetwork(Network):
    """The base of networks whose layers are computed here, on a copy of the model's weights.

    Args:
        shape: what the store must know.
        tokens: (V,E), the tokens' embeddings.
        layers: each maps its number, (R,E), the attention, the rows whose output is wanted, and
            what else `placed` gives, to the output of these rows; of the others it computes keys
            and values alone.
        norm: what the last layer's output goes through.
        head: the vocabulary projection.
    """

    def __init__(
        self, shape: CacheShape, tokens: Tensor, layers: Sequence[Layer], norm: Layer, head: LMHead
    ) -> None:
        self._shape = shape
        self._tokens = tokens
        self._layers = layers
        self._norm = norm
        self._head = head

    @property
    def shape(self) -> CacheShape:
        """What the store must know."""
        return self._shape

    @abstractmethod
    def placed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """Gives embeddings (R,E) their positions (R).

        Returns:
            What the first layer reads (R,E), and what else every layer does.
        """

    def prefill(self, prefix: Tensor, into: Prefill, hidden: bool) -> StepOutput:
        """Runs prefixes (b,P,E); gives the last position's output (b)."""
        images, length, _ = prefix.shape
        positions = torch.arange(length, device=prefix.device).repeat(images)
        x, ends = prefix.flatten(0, 1), slice(length - 1, images * length, length)
        if not hidden:
            return StepOutput(self._run(x, positions, into.attend, [], ends))
        trace: list[Tensor] = []
        found = self._run(x, positions, into.attend, trace)
        output = self._output([found, *trace], ends, hidden)
        return StepOutput(output.last, output.hidden, torch.unflatten(found, 0, (images, length)))

    def step(
        self,
        tokens: Tensor,
        positions: Tensor,
        grid: RaggedBatch,
        order: Tensor | None,
        hidden: bool,
    ) -> StepOutput:
        """Runs one token a row; see the base class."""
        trace: list[Tensor] = []
        found = self._run(F.embedding(tokens, self._tokens), positions, grid.attend, trace)
        return self._output([found, *trace], order, hidden)

    def _run(
        self, x: Tensor, positions: Tensor, attend: Attend, trace: list[Tensor], rows: slice = _ALL
    ) -> Tensor:
        """Runs all layers, whose inputs (R,E) it puts into the trace; gives the rows' output."""
        x, *others = self.placed(x, positions)
        for number, layer in enumerate(self._layers):
            trace.append(x)
            wanted = rows if number == len(self._layers) - 1 else _ALL
            x = layer(number, x, attend, wanted, *others)
        found: Tensor = self._norm(x)
        return found

    def _output(
        self, states: Sequence[Tensor], rows: Tensor | slice | None, hidden: bool
    ) -> StepOutput:
        wanted = states if hidden else states[:1]
        last, *others = wanted if rows is None else [state[rows] for state in wanted]
        return StepOutput(last, (*others, last) if hidden else ())

    def logits(self, last: Tensor) -> Tensor:
        """Computes the logits (R,V), float32, of last states (R,E)."""
        return self._head.logits(last)

    def top_tokens(self, last: Tensor, count: int) -> TopTokens:
        """Finds the best tokens, at most V a row, of last states (R,E)."""
        return self._head.top_tokens(last, count)


class GPT2Network(NativeNetwork):
    """GPT-2 (Radford 2019), as transformers' `GPT2LMHeadModel` computes it."""

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.transformer
        first = body.wte.weight
        shape = CacheShape(
            layers=config.n_layer,
            heads=config.n_head,
            width=config.n_embd // config.n_head,
            vocab_size=config.vocab_size,
            dtype=first.dtype,
            device=first.device,
        )
        layers = [_GPT2Layer(block, config, shape.width) for block in body.h]
        head = LMHead(model.lm_head.weight, model.lm_head.bias)
        super().__init__(shape, first.detach(), layers, body.ln_f, head)
        self._positions = body.wpe.weight.detach()

    def placed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """Adds learnt positions (R) to embeddings (R,E)."""
        return (x + F.embedding(positions, self._positions),)


class _GPT2Layer:
    def __init__(self, block: Any, config: Any, width: int) -> None:
        self.width = width
        self.scale = float(block.attn.scaling)
        self.norm_1, self.norm_2 = block.ln_1, block.ln_2

        def conv(module: Any, activation: str | None = None) -> PackedLinear:
            return PackedLinear(module.weight, module.bias, transposed=True, activation=activation)

        self.inward, self.outward = conv(block.attn.c_attn), conv(block.attn.c_proj)
        self.up = conv(block.mlp.c_fc, config.activation_function)
        self.down = conv(block.mlp.c_proj)

    def __call__(self, number: int, x: Tensor, attend: Attend, rows: slice) -> Tensor:
        heads = torch.unflatten(self.inward(self.norm_1(x)), 1, (3, -1, self.width))
        found = attend(number, heads[:, 0], heads[:, 1], heads[:, 2], self.scale)
        x = self.outward.plus(found[rows], x[rows])
        return self.down.plus(self.up(self.norm_2(x)), x)


class LlamaNetwork(NativeNetwork):
    """Llama (Touvron 2023) and its likes: Qwen2, Qwen3, Mistral, SmolLM2; grouped heads too."""

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.model
        first = body.embed_tokens.weight
        attention = body.layers[0].self_attn
        shape = CacheShape(
            layers=len(body.layers),
            heads=config.num_key_value_heads,
            width=attention.head_dim,
            vocab_size=config.vocab_size,
            dtype=first.dtype,
            device=first.device,
        )
        layers = [_LlamaLayer(layer, config, shape) for layer in body.layers]
        head = LMHead(model.lm_head.weight, model.lm_head.bias)
        super().__init__(shape, first.detach(), layers, body.norm, head)
        self._rotary = body.rotary_emb

    def placed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """Returns embeddings (R,E) and the rotations (R,1,D) of positions (R)."""
        cos, sin = self._rotary(x[None], positions[None])
        return x, cos[0][:, None], sin[0][:, None]


class _LlamaLayer:
    def __init__(self, layer: Any, config: Any, shape: CacheShape) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.width, self.keys = shape.width, shape.heads
        self.queries = int(config.num_attention_heads)
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
        heads = torch.unflatten(self.inward(self.norm_1(x)), 1, (-1, self.width))
        query, key, value = torch.split(heads, [self.queries, self.keys, self.keys], 1)
        if self.norm_q is not None and self.norm_k is not None:
            query, key = self.norm_q(query), self.norm_k(key)
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
        found = attend(number, query, key, value, self.scale)
        x = self.outward.plus(found[rows], x[rows])
        gate, up = self.up(self.norm_2(x)).chunk(2, 1)
        return self.down.plus(self.act(gate) * up, x)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def _side_by_side(*modules: Any) -> PackedLinear:
    """Joins linear layers of one input into one."""
    weight = torch.cat([module.weight.detach() for module in modules])
    biases = [module.bias for module in modules]
    bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
    return PackedLinear(weight, bias)


class OPTNetwork(NativeNetwork):
    """OPT (Zhang 2022) with the norm before each part, as all sizes but 350m have it."""

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.model.decoder
        first = body.embed_tokens.weight
        shape = CacheShape(
            layers=len(body.layers),
            heads=config.num_attention_heads,
            width=config.hidden_size // config.num_attention_heads,
            vocab_size=config.vocab_size,
            dtype=first.dtype,
            device=first.device,
        )
        layers = [_OPTLayer(layer, config, shape.width) for layer in body.layers]
        head = LMHead(model.lm_head.weight, model.lm_head.bias)
        super().__init__(shape, first.detach(), layers, body.final_layer_norm, head)
        self._positions = body.embed_positions.weight.detach()
        self._offset = int(body.embed_positions.offset)

    def placed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """Adds learnt positions (R) to embeddings (R,E)."""
        return (x + F.embedding(positions + self._offset, self._positions),)


class _OPTLayer:
    def __init__(self, layer: Any, config: Any, width: int) -> None:
        attention = layer.self_attn
        self.width = width
        self.scale = float(attention.scaling)
        self.norm_1, self.norm_2 = layer.self_attn_layer_norm, layer.final_layer_norm
        self.inward = _side_by_side(attention.q_proj, attention.k_proj, attention.v_proj)
        self.outward = PackedLinear(attention.out_proj.weight, attention.out_proj.bias)
        self.up = PackedLinear(
            layer.fc1.weight, layer.fc1.bias, activation=config.activation_function
        )
        self.down = PackedLinear(layer.fc2.weight, layer.fc2.bias)

    def __call__(self, number: int, x: Tensor, attend: Attend, rows: slice) -> Tensor:
        heads = torch.unflatten(self.inward(self.norm_1(x)), 1, (3, -1, self.width))
        found = attend(number, heads[:, 0], heads[:, 1], heads[:, 2], self.scale)
        x = self.outward.plus(found[rows], x[rows])
        return self.down.plus(self.up(self.norm_2(x)), x)
