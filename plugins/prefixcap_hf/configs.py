"""Config of the language model `hf`."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import ClassVar

import attrs
from typing_extensions import override

from prefixcap.errors import PrefixcapError, shown
from prefixcap.interfaces.component import PART, PATH
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.interfaces.validators import one_of, path_text
from prefixcap.util.text_files import expanded
from prefixcap_hf.memory_limits import memory_limits

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
_TOKENIZER_FILES = ("*token*.json", "vocab*", "merges.txt", "*.model", "*.tiktoken")


def _memory_text(_: object, __: object, value: str) -> None:
    memory_limits(value)


@attrs.frozen(kw_only=True)
class HF(LMConfig):
    """Any causal language model of transformers, such as GPT-2, OPT, Llama, SmolLM2 or Qwen.

    Attributes:
        model: Name on the hub, folder, or .gguf file. A folder with one .gguf file and no config
            is read as that file.
        gguf_file: The .gguf file of a folder or hub repository. It is converted once, and the
            result is cached.
        tokenizer: Name or folder of the tokenizer; default: that of the model.
        init: "pretrained", or "random" for randomly initialized weights.
        seed: Seed of random weights.
        revision: Branch, tag or commit on the hub.
        prepend: What precedes every prefix: "auto" for the tokens that the tokenizer puts before
            every text, because the model was always trained with them (Llama, Gemma and OPT a
            beginning-of-text token; GPT-2, Qwen and Phi none), "none", "bos" for the tokenizer's
            beginning-of-text token, or a text, with special tokens by name, such as
            `<|endoftext|>`.
        device_map: How Accelerate spreads a model over all devices, the memory and the disk:
            "auto", "balanced", "balanced_low_0" or "sequential". It needs the extra `device-map`;
            the default is one device.
        max_memory: The memory that `device_map` may use, such as "0=20GiB 1=20GiB cpu=60GiB",
            devices by number; default: all that is free. What does not fit stays on the disk.
    """

    name: ClassVar[str] = "hf"

    model: str = attrs.field(
        default="gpt2", validator=[attrs.validators.min_len(1), path_text], metadata=PATH
    )
    gguf_file: str = attrs.field(default="", metadata=PART)
    tokenizer: str = attrs.field(default="", validator=path_text, metadata=PATH)
    init: str = attrs.field(default="pretrained", validator=one_of(("pretrained", "random")))
    seed: int = 0
    revision: str = ""
    prepend: str = "auto"
    device_map: str = attrs.field(default="", validator=one_of(("", *DEVICE_MAPS)))
    max_memory: str = attrs.field(default="", validator=_memory_text)

    @override
    def external_digests(self) -> Sequence[str]:
        """Digest the tokenizer's files: the model's own digest covers only its vocabulary."""
        folder, digest = expanded(self.tokenizer or self.model), sha256()
        try:
            found = {file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern)}
            files = sorted(file for file in found if file.is_file())
            for file in files:
                digest.update(repr((file.name, file.read_bytes())).encode())
        except OSError as error:
            reason = error.strerror or error
            raise PrefixcapError(f"{shown(str(folder))} cannot be read: {reason}") from error
        return [digest.hexdigest()[:16]] if files else []

    @override
    def build(self, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
        from prefixcap_hf.loading import load

        return load(device=device, dtype=dtype, **attrs.asdict(self))
