"""A model that changes between two calls: the second gives what transformers' `generate` gives."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from core.engine.models import VOCABULARY, WIDTH, made, prefixes
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

import prefixcap
from prefixcap.engine.architectures import NativeNetwork
from prefixcap.interfaces.session import SessionOptions
from prefixcap.util.checksum import checksum

torch.set_num_threads(1)

Edit = Callable[[Any], object]


def _head(model: Any) -> Any:
    return model.get_output_embeddings().weight


def _first_block(model: Any) -> Any:
    body = model.base_model
    layers = next(part for part in body.modules() if isinstance(part, nn.ModuleList))
    return layers[0]


def _set_new_rows(model: Any) -> None:
    _head(model).data[-3:] = 9 * torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(3))


def _set_through_numpy(model: Any) -> None:
    _head(model).detach().numpy()[5] *= -7


def _swap_rows(model: Any) -> None:
    _head(model).data[[1, 2]] = _head(model).data[[2, 1]]


def _flip_a_bit(model: Any) -> None:
    # the highest bit of an exponent
    _head(model).detach().numpy().view("int32")[4, 7] ^= 1 << 30
    _head(model).data.clamp_(-9, 9)


def _rearrange(model: Any) -> None:
    for weight in model.parameters():
        weight.data[:] = weight.data.flip(0)


def _load(model: Any) -> None:
    model.load_state_dict({name: 1.2 * value for name, value in model.state_dict().items()})


def _assign(model: Any) -> None:
    state = {name: 1.2 * value for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def _move_and_edit_the_old(model: Any) -> None:
    weight = _head(model)
    old, weight.data = weight.data, weight.data.clone()
    old.zero_()


def _replace_forward(model: Any) -> None:
    original = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        output.logits = -output.logits
        return output

    # transformers' generate looks at the signature
    model.forward = functools.wraps(original)(forward)


def _replace_forward_of_a_part(model: Any) -> None:
    block, original = _first_block(model), _first_block(model).forward
    block.forward = functools.wraps(original)(lambda x, *a, **k: original(0.2 * x, *a, **k))


def _hook(model: Any) -> None:
    model.get_output_embeddings().register_forward_hook(lambda part, given, output: -output)


def _hook_before(model: Any) -> None:
    model.get_output_embeddings().register_forward_pre_hook(lambda part, given: (-given[0],))


def _change_dtype(model: Any) -> None:
    model.to(torch.bfloat16)


def _grow_vocabulary(model: Any) -> None:
    with torch.random.fork_rng():
        model.resize_token_embeddings(VOCABULARY + 4, mean_resizing=False)
    _head(model).data[-1] = 9 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(3))


def _change_a_setting(model: Any) -> None:
    for part in model.modules():
        for name in ("eps", "variance_epsilon"):
            if hasattr(part, name):
                setattr(part, name, 3.0)


EDITS: list[Edit] = [
    *(_set_new_rows, _set_through_numpy, _swap_rows, _flip_a_bit, _rearrange, _load, _assign),
    *(_move_and_edit_the_old, _replace_forward, _replace_forward_of_a_part, _hook, _hook_before),
    *(_change_dtype, _grow_vocabulary, _change_a_setting),
]


def _greedy(lm: Any, length: int = 6) -> list[list[int]]:
    captions = prefixcap.decode(lm, prefixes(3), "greedy", max_new_tokens=length, stop_ids=())
    return [list(caption.ids) for (caption,) in captions]


def _logits(lm: Any) -> Tensor:
    session = lm.start(prefixes(3), SessionOptions())
    session.admit()
    logits: Tensor = session.logits
    return logits


def _generate(model: Any) -> list[list[int]]:
    prefix = prefixes(3).to(model.dtype)
    tokens: list[list[int]] = model.generate(
        inputs_embeds=prefix,
        attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=[model.config.get_text_config().vocab_size],
        pad_token_id=0,
    ).tolist()
    return tokens


CASES = [
    *(("gpt2", edit) for edit in EDITS),
    *((name, edit) for name in ("llama", "opt") for edit in EDITS[::2]),
    *(("gpt_neox", edit) for edit in (_swap_rows, _replace_forward, _change_dtype)),
    *(("bloom", edit) for edit in (_set_through_numpy, _hook, _grow_vocabulary)),
]


@pytest.mark.parametrize(("name", "edit"), CASES, ids=lambda case: str(case).split(" at ")[0])
def test_a_changed_model_decodes_as_it_is_now(name: str, edit: Edit) -> None:
    model = made(name)
    lm = prefixcap.from_transformers(model)
    before, logits = _greedy(lm), _logits(lm)
    assert before == _generate(model)
    edit(model)
    assert _greedy(lm) == _generate(model)
    assert torch.equal(_logits(lm), logits) == (edit is _move_and_edit_the_old)


@pytest.mark.parametrize("how", ["class", "method", "everywhere"])
def test_functions_that_are_replaced_in_their_class(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made("gpt2")
    lm = prefixcap.from_transformers(model)
    before = _greedy(lm)
    assert isinstance(lm._selector.network(), NativeNetwork)
    kind = type(_first_block(model).mlp)
    original = kind.forward
    if how == "everywhere":
        hooks = torch_module._global_forward_hooks
        assert not hooks

        def negate(part: Any, given: Any, output: Any) -> Any:
            return -output if isinstance(part, kind) else output

        handle = torch_module.register_module_forward_hook(negate)
        try:
            assert _greedy(lm) == _generate(model) != before
        finally:
            handle.remove()
    else:

        @functools.wraps(original)
        def negated(self: Any, x: Any) -> Any:
            return -original(self, x)

        owner = kind if how == "class" else _first_block(model).mlp
        bound = negated if how == "class" else functools.partial(negated, owner)
        monkeypatch.setattr(owner, "forward", bound)
        assert _greedy(lm) == _generate(model) != before
        monkeypatch.undo()
    assert _greedy(lm) == before
    assert isinstance(lm._selector.network(), NativeNetwork)


def test_weights_that_have_not_changed_are_not_copied_again() -> None:
    lm = prefixcap.from_transformers(made("gpt2"))
    _greedy(lm)
    network = lm._selector.network()
    _greedy(lm)
    assert lm._selector.network() is network


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int8])
@pytest.mark.parametrize("size", [1, 7, 129, 70_001])
def test_a_checksum_sees_every_bit_and_every_exchange(dtype: torch.dtype, size: int) -> None:
    stream = torch.Generator().manual_seed(size)
    tensor = (torch.randn(size, generator=stream) * 40).to(dtype)
    other = torch.ones(3, 2, dtype=dtype)
    first = checksum([tensor, other])
    assert torch.equal(first, checksum([tensor.clone(), other.t().contiguous().t()]))
    content = tensor.view(torch.uint8)
    for place in {0, len(content) // 2, len(content) - 1}:
        for bit in (0, 7):
            content[place] ^= 1 << bit
            assert not torch.equal(first, checksum([tensor, other]))
            content[place] ^= 1 << bit
    for here, there in ((0, size - 1), (size // 2, size // 3), (0, min(1, size - 1))):
        if tensor[here] != tensor[there]:
            tensor[[here, there]] = tensor[[there, here]]
            assert not torch.equal(first, checksum([tensor, other]))
            tensor[[here, there]] = tensor[[there, here]]
    # a view that does not begin at a multiple of eight bytes
    assert torch.equal(checksum([tensor[1:]]), checksum([tensor[1:].clone()]))


def test_a_llama_that_has_decoded_can_be_copied() -> None:
    lm = prefixcap.from_transformers(made("llama"))
    inputs = prefixes(1)
    before = prefixcap.decode(lm, inputs, "greedy", max_new_tokens=3)
    copied = copy.deepcopy(lm)
    assert copied.module is not lm.module
    assert prefixcap.decode(copied, inputs, "greedy", max_new_tokens=3) == before
