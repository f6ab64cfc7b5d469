"""The config of `hf`; the loading is in `loading` and `gguf`."""

from __future__ import annotations

from typing import ClassVar

import attrs

from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.validators import one_of


@attrs.frozen(kw_only=True)
class HF(LMConfig):
    """Any causal language model of transformers, such as GPT-2, OPT, Llama, SmolLM2 or Qwen.

    Attributes:
        model: a name on the hub, a folder, or a .gguf file. A folder that holds one .gguf file
            and no config is read as that file.
        gguf_file: the .gguf file of a folder or of a repository on the hub. It is converted once
            and kept in the cache.
        tokenizer: where the tokenizer is, when it is not with the model.
        init: "random" takes only the config and the tokenizer, and draws fresh weights.
        seed: of those fresh weights.
        revision: a branch, tag or commit on the hub.
        prepend: a text whose tokens stand before every prefix, special tokens by their names, such
            as `<|endoftext|>`; "bos" is the tokenizer's own beginning-of-text token. Models that
            were always trained with one (Llama, Gemma) may read a text without it badly.
    """

    name: ClassVar[str] = "hf"

    model: str = attrs.field(default="gpt2", validator=attrs.validators.min_len(1))
    gguf_file: str = ""
    tokenizer: str = ""
    init: str = attrs.field(default="pretrained", validator=one_of(("pretrained", "random")))
    seed: int = 0
    revision: str = ""
    prepend: str = ""

    def build(self, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
        """Loads the model and its tokenizer.

        Raises:
            PrefixcapError: there is no such model or tokenizer, or it cannot be loaded.
        """
        from prefixcap_hf.loading import load

        return load(self, device, dtype)
