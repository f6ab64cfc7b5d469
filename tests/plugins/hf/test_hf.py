"""Language models of transformers, on small ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prefixcap_hf.configs import HF

import prefixcap
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.plugin.registry import default_registry

LETTERS = [*"abcdefghijklmnopqrstuvwxyz. ?", "th", "<end>"]
SIZE, EOS = len(LETTERS), len(LETTERS) - 1


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(LETTERS)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="?"
    ).save_pretrained(folder)


def save_model(folder: Path, architecture: str) -> Any:
    import transformers

    small: dict[str, Any] = {
        "GPT2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64},
        "Llama": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 32,
        },
        "OPT": {
            "hidden_size": 16,
            "word_embed_proj_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "max_position_embeddings": 64,
        },
    }[architecture]
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=SIZE, eos_token_id=EOS, bos_token_id=EOS, pad_token_id=EOS, **small
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        name = f"{architecture}ForCausalLM" if architecture != "GPT2" else "GPT2LMHeadModel"
        model = getattr(transformers, name)(config).eval()
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model


@pytest.mark.parametrize("architecture", ["GPT2", "Llama", "OPT"])
def test_a_folder_is_the_model_that_was_saved(architecture: str, tmp_path: Path) -> None:
    model = save_model(tmp_path, architecture)
    lm = default_registry().parse(LMConfig, f"hf:model={tmp_path}").build()
    assert (lm.width, lm.vocab_size, lm.eos_id) == (16, SIZE, EOS)
    assert lm.tokenizer is not None
    assert lm.tokenizer.decode(lm.tokenizer.encode("a dog.")) == "a dog."
    ids = torch.tensor([lm.tokenizer.encode("a dog runs.")])
    prefix = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        inputs = torch.cat([prefix, model.get_input_embeddings()(ids)], 1)
        expected = model(inputs_embeds=inputs).logits[:, 2:-1]
        result = lm.teacher_forced(prefix, ids, torch.ones_like(ids, dtype=torch.bool))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)
    assert lm.digest() == HF(model=str(tmp_path)).build().digest()


def test_a_folder_may_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path / "gpt2", "GPT2")
    monkeypatch.setenv("HOME", str(tmp_path))
    result = HF(model="~/gpt2", tokenizer="~/gpt2").build()
    assert result.digest() == HF(model=str(tmp_path / "gpt2")).build().digest()


def test_prepended_tokens_precede_every_prefix(tmp_path: Path) -> None:
    save_model(tmp_path, "GPT2")
    plain, prepended = (HF(model=str(tmp_path), prepend=b).build() for b in ("", "<end>a dog"))
    prefix = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    assert prepended.tokenizer is not None
    tokens = torch.tensor([EOS, *prepended.tokenizer.encode("a dog")])
    first = plain.embed(tokens).expand(2, -1, -1)
    torch.testing.assert_close(prepended.prepend_tokens(prefix), torch.cat([first, prefix], 1))
    assert prepended.max_positions == 64 - len(tokens)
    with pytest.raises(PrefixcapError, match="this tokenizer has no beginning-of-text token"):
        HF(model=str(tmp_path), prepend="bos").build()


def test_dtypes_and_random_weights(tmp_path: Path) -> None:
    save_model(tmp_path, "GPT2")
    pretrained = HF(model=str(tmp_path)).build()
    assert next(HF(model=str(tmp_path)).build(dtype="bfloat16").module.parameters()).dtype == (
        torch.bfloat16
    )
    state = torch.random.get_rng_state()
    random = HF(model=str(tmp_path), init="random", seed=1).build()
    assert torch.equal(torch.random.get_rng_state(), state)
    digests = [HF(model=str(tmp_path), init="random", seed=n).build().digest() for n in (1, 2)]
    assert random.digest() == digests[0] != digests[1]
    assert pretrained.digest() not in digests


def test_a_vocabulary_without_an_end_token_gets_the_configs(shared: Path) -> None:
    """GPT-2's class would add an end token of its own, which the model has no embedding for."""
    folder = shared / "data" / "clipcap"
    lm = HF(model=str(folder), init="random").build()
    assert lm.eos_id == 0
    assert lm.vocab_size == 512
    assert lm.tokenizer is not None
    assert lm.tokenizer.decode(lm.tokenizer.encode("A dog runs.")) == "A dog runs."


def tokenizer_with(folder: Path, **special: str) -> Any:
    """Return the tokenizer of letters, with special tokens added to it."""
    from transformers import PreTrainedTokenizerFast

    save_tokenizer(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens(special)
    return tokenizer


def letters_model(size: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    small = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(vocab_size=size, bos_token_id=0, eos_token_id=0, **small))


@pytest.mark.parametrize("size", [20, EOS])
def test_a_tokenizer_with_more_tokens_than_the_model_is_an_error(size: int, tmp_path: Path) -> None:
    sentence = rf"token '.*' as number {size}, .* has {size} tokens \(0 to {size - 1}\): use the"
    with pytest.raises(PrefixcapError, match=sentence):
        prefixcap.from_transformers(letters_model(size), tokenizer_with(tmp_path))
    if size == EOS:  # the loader replaces an end token that the model does not have
        return
    letters_model(size).save_pretrained(tmp_path)
    with pytest.raises(PrefixcapError, match=rf"lm 'hf': model=.*{sentence}"):
        HF(model=str(tmp_path)).build()


def test_tokens_added_without_new_embeddings(tmp_path: Path) -> None:
    model = letters_model(SIZE)
    with pytest.raises(PrefixcapError, match=r"'\[END\]' as number 31.*resize_token_embeddings"):
        prefixcap.from_transformers(model, tokenizer_with(tmp_path, eos_token="[END]"))
    # captions never have the others, so their embeddings are not missed
    padded = tokenizer_with(tmp_path, pad_token="[PAD]")
    lm = prefixcap.from_transformers(model, padded)
    assert lm.tokenizer is not None
    assert lm.tokenizer.encode("a dog") == lm.tokenizer.encode("a dog")
    with pytest.raises(PrefixcapError, match=r"'a \[PAD\]' has token 31 of the .* \('\[PAD\]'\)"):
        lm.tokenizer.encode("a [PAD]")
    model.resize_token_embeddings(len(padded))
    lm = prefixcap.from_transformers(model, padded)
    assert lm.tokenizer is not None
    assert lm.tokenizer.encode("[PAD]") == [31]
    assert lm.embed(torch.tensor([31])).shape == (1, 16)


def test_a_model_with_more_rows_than_tokens_is_right(tmp_path: Path) -> None:
    """Many models have a vocabulary that was padded to a round number."""
    lm = prefixcap.from_transformers(letters_model(64), tokenizer_with(tmp_path))
    assert (lm.vocab_size, lm.eos_id) == (64, EOS)
    assert lm.tokenizer is not None
    assert lm.tokenizer.decode([0, 60, 1]) == "ab"
    prefix = torch.zeros(1, 2, 16)
    for decoder in ("greedy", "beam:num_beams=3", "sample:n=20"):
        for hypothesis in prefixcap.decode(lm, prefix, decoder, max_new_tokens=8)[0]:
            assert set(hypothesis.text) <= set("".join(LETTERS))


@pytest.mark.parametrize("model", ["gpt2", torch.nn.Linear(2, 2)])
def test_a_model_without_token_embeddings_is_an_error(model: Any) -> None:
    name = type(model).__name__
    with pytest.raises(PrefixcapError, match=rf"such as a GPT2LMHeadModel, and {name} has no"):
        prefixcap.from_transformers(model)


# --------------------------------------------------------------------------------------------- GGUF


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """Write a Llama of one layer as a GGUF file, in float32."""
    import gguf

    generator = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(SIZE)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([letter.replace(" ", "Ġ") for letter in LETTERS])
    writer.add_token_types([1] * EOS + [3])
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(EOS)
    writer.add_bos_token_id(EOS)
    shapes = {
        "token_embd.weight": (SIZE, 16),
        "output.weight": (SIZE, 16),
        "output_norm.weight": (16,),
        "blk.0.attn_norm.weight": (16,),
        "blk.0.ffn_norm.weight": (16,),
        "blk.0.attn_q.weight": (16, 16),
        "blk.0.attn_k.weight": (8, 16),
        "blk.0.attn_v.weight": (8, 16),
        "blk.0.attn_output.weight": (16, 16),
        "blk.0.ffn_gate.weight": (32, 16),
        "blk.0.ffn_up.weight": (32, 16),
        "blk.0.ffn_down.weight": (16, 32),
    }
    tensors = {k: generator.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_gguf_is_converted_once_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    monkeypatch.setenv("PREFIXCAP_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "models"
    folder.mkdir()
    file = folder / "small.gguf"
    tensors = write_gguf(file)
    lm = HF(model=str(folder)).build()
    np.testing.assert_array_equal(
        lm.embed(torch.arange(SIZE)).detach().numpy(), tensors["token_embd.weight"]
    )
    assert lm.tokenizer is not None
    assert lm.tokenizer.decode(lm.tokenizer.encode("a dog")) == "a dog"
    (kept,) = (tmp_path / "cache" / "gguf").iterdir()
    written = (kept / "model.safetensors").stat().st_mtime_ns
    for config in (HF(model=str(file)), HF(model=str(folder), gguf_file="small.gguf")):
        assert config.build().digest() == lm.digest()
    assert (kept / "model.safetensors").stat().st_mtime_ns == written
    shutil.copy(file, folder / "other.gguf")
    with pytest.raises(PrefixcapError, match=r"gguf_file to one of other\.gguf, small\.gguf"):
        HF(model=str(folder)).build()
    with pytest.raises(PrefixcapError, match=r"no file 'smal\.gguf'; did you mean 'small\.gguf'"):
        HF(model=str(folder), gguf_file="smal.gguf").build()


# ------------------------------------------------------------------------------------ what is wrong


def test_models_that_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smollm").mkdir()
    with pytest.raises(PrefixcapError, match="does not exist; did you mean 'smollm'"):
        HF(model=str(tmp_path / "smolm")).build()
    with pytest.raises(PrefixcapError, match=r"the folder .*smollm' cannot be loaded"):
        HF(model=str(tmp_path / "smollm")).build()
    (tmp_path / "broken.gguf").write_bytes(b"nothing")
    with pytest.raises(PrefixcapError, match=r"broken\.gguf is not a GGUF file"):
        HF(model=str(tmp_path / "broken.gguf")).build()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PrefixcapError, match="without a network, give a folder instead"):
        HF(model="prefixcap/no-such-model").build()


def test_an_unknown_init_is_an_error() -> None:
    with pytest.raises(PrefixcapError, match="init cannot be 'randon'; did you mean 'random'"):
        default_registry().parse(LMConfig, "hf:init=randon")


@pytest.mark.parametrize("name", ["m" * 300, "m" * 5000, "~no-such-user/m"])
def test_a_model_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(
        PrefixcapError, match=r"cannot be read: File name|that ~ names is not known"
    ):
        default_registry().parse(LMConfig, f"hf:model={name}")
