"""The errors for bad input, hints for unknown names, and errors of foreign code as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MOST_SHOWN = 10
MOST_COMPARED = 100_000
LONGEST_NAME = 80
LONGEST_SENTENCE = 2000
LONGEST_REASON = 500

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    # decoding
    "nucleus": ("top-p",),
    "topp": ("top-p",),
    "topk": ("top-k",),
    "sampling": ("sample", "top-p"),
    "beamsearch": ("beam",),
    "argmax": ("greedy",),
    "greedysearch": ("greedy",),
    "dbs": ("diverse-beam",),
    "dba": ("constrained",),
    "simctg": ("contrastive",),
    "magicsearch": ("magic",),
    "cfg": ("guidance",),
    "assisted": ("speculative",),
    "beams": ("num_beams",),
    "beamsize": ("num_beams",),
    "beamwidth": ("num_beams",),
    "numbeam": ("num_beams",),
    "lp": ("length_penalty",),
    "alpha": ("length_penalty",),
    "temp": ("temperature",),
    "t": ("temperature",),
    "maxlength": ("max_new_tokens", "max_tokens"),
    "maxlen": ("max_new_tokens", "max_tokens"),
    "maxtokens": ("max_new_tokens", "max_tokens"),
    "p": ("top_p", "min_p"),
    "k": ("top_k",),
    # training
    "lr": ("learning_rate",),
    "bs": ("batch_size",),
    "batch": ("batch_size",),
    "wd": ("weight_decay",),
    "decay": ("weight_decay",),
    "epoch": ("epochs",),
    "numepochs": ("epochs",),
    "clip": ("gradient_clip",),
    "maxgradnorm": ("gradient_clip",),
    "earlystopping": ("patience",),
    "scheduler": ("schedule",),
    "noise": ("feature_noise",),
    # metrics
    "b4": ("bleu",),
    "bleu4": ("bleu",),
    "rougel": ("rouge",),
    "ciderd": ("cider",),
    "clips": ("clipscore",),
    # models and devices
    "gpt2": ("hf",),
    "llama": ("hf",),
    "transformers": ("hf",),
    "huggingface": ("hf",),
    "openclip": ("open-clip",),
    "siglip": ("hf-vision",),
    "dinov2": ("hf-vision",),
    "dino": ("hf-vision",),
    "vit": ("hf-vision", "clip"),
    "gpu": ("cuda",),
    "nvidia": ("cuda",),
    "metal": ("mps",),
    "fp32": ("float32",),
    "float": ("float32",),
    "full": ("float32",),
    "fp16": ("float16",),
    "half": ("float16",),
    "bf16": ("bfloat16",),
    # data sets
    "mscoco": ("coco",),
    "coco2014": ("coco",),
    "coco2017": ("coco",),
    "flickr8k": ("flickr",),
    "flickr30k": ("flickr",),
    "wds": ("webdataset",),
    "tar": ("webdataset",),
    "imagefolder": ("images",),
    "folder": ("images",),
    "table": ("csv",),
    # tunings and mappers
    "finetune": ("full",),
    "finetuned": ("full",),
    "freeze": ("frozen",),
    "fc": ("linear",),
    "perceptron": ("mlp",),
    # options
    "batchsize": ("batch_size", "encode_batch"),
    "model": ("lm", "encoder"),
    "prefix": ("prefix_len",),
    "prefixlength": ("prefix_len",),
    "metric": ("metrics",),
    "score": ("metrics",),
    "bh": ("benjamini-hochberg",),
    "fdr": ("benjamini-hochberg",),
}
"""What people of the field call things, without case and punctuation, and our names for them."""


class PrefixcapError(Exception):
    """Bad input, described in one sentence; the shell prints it and exits with status 2.

    A longer text than `LONGEST_SENTENCE` characters is shortened in its middle.
    """

    def __init__(self, sentence: object = "") -> None:
        super().__init__(shortened(str(sentence), LONGEST_SENTENCE))


def shortened(text: str, length: int) -> str:
    """Return a text of at most `length` characters, the middle of a longer one replaced."""
    if len(text) <= length:
        return text
    end = length // 4
    return f"{text[: length - end - 5]} ... {text[len(text) - end :]}"


def shown(value: object, length: int = LONGEST_NAME) -> str:
    """Return how a value of any size is written in an error, in at most `length` characters."""
    try:
        if isinstance(value, str):
            value = shortened(value, length)
        return shortened(repr(value), length)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        return f"a {type(value).__name__} that is too large to show"


def listed(names: Iterable[str], mark: str = ", ") -> str:
    """Return up to ten names, joined by a mark, and how many more there are."""
    names = list(names)
    more = (
        f"{mark.rstrip(', ')} and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    )
    return mark.join(shortened(name, LONGEST_NAME) for name in names[:MOST_SHOWN]) + more


class NonFiniteError(PrefixcapError):
    """Numbers that are NaN or infinite, so that some images have no captions.

    Attributes:
        images: The ids of these images by their number, from 0 to B-1.
        found: What was not finite, such as "the language model's logits".
        captions: The hypotheses of the other images by their number; complete when `iter_decode`
            or `decode` raises the error.
    """

    def __init__(
        self, images: Mapping[int, str], found: str, captions: Mapping[int, list[Any]] | None = None
    ) -> None:
        self.images = dict(images)
        self.found = found
        self.captions = dict(captions or {})
        names = [repr(name) for name in self.images.values()]
        which = "the image" if len(names) == 1 else f"{len(names)} images:"
        super().__init__(
            f"{found} are not finite for {which} {listed(names)}: if the "
            "model runs in float16, use bfloat16 or float32; otherwise check the weights and the "
            "image's feature"
        )


class DivergedError(PrefixcapError):
    """A training that stopped because its loss, gradients or weights are NaN or infinite.

    Attributes:
        found: What is not finite, and where it was found.
        epoch: The epoch whose weights are kept; 0 if none was finished before.
        model: The `Captioner` with these weights, from `train`; None without an epoch.
    """

    def __init__(self, found: str, cure: str = "", *, epoch: int = 0) -> None:
        self.found, self.epoch = found, epoch
        self.model: Any = None
        super().__init__(f"{found}: {cure}" if cure else found)


class PrefixcapWarning(UserWarning):
    """Something that the user should know, in one sentence; the shell prints it."""


def nearest(value: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: what was meant, and up to ten known names.

    Args:
        value: The unknown name.
        known: The names that exist.

    Returns:
        A clause that starts with a semicolon; "" if no name is known.
    """
    names = sorted(known)
    if not names:
        return ""
    meant = closest(value, names)
    hint = f"; did you mean {shown(meant)}?" if meant else ";"
    return f"{hint} known: {listed(names)}"


def closest(value: str, names: Iterable[str]) -> str | None:
    """Return the name that was meant, by case, the field's synonyms, or spelling; None if unclear.

    A name may begin with dashes, as options do.
    """
    from difflib import get_close_matches

    names = set(names)
    if same := synonym(value, names):
        return same
    by_letters = {_letters(name) or name: name for name in sorted(names, reverse=True)}
    letters = _letters(value[: 2 * LONGEST_NAME])
    # what can reach the cutoff, as the comparison takes time
    length = len(letters)
    similar = [name for name in by_letters if length <= 3 * len(name) and len(name) <= 3 * length]
    close = get_close_matches(letters, similar[:MOST_COMPARED], n=1, cutoff=0.5)
    return by_letters[close[0]] if close else None


def synonym(value: str, names: Iterable[str]) -> str | None:
    """Return the name that equals a value up to case and punctuation, or is what it stands for."""
    known = sorted(names, reverse=True)
    if value in known:
        return value
    by_letters = {_letters(name) or name: name for name in known}
    letters = _letters(value[: 2 * LONGEST_NAME])
    meant = (letters, *map(_letters, SYNONYMS.get(letters, ())))
    return next((by_letters[each] for each in meant if each in by_letters), None)


def describe(error: BaseException) -> str:
    """Return an error's type and text on one line, also if its text cannot be made or is long."""
    name = type(error).__name__
    for write in (str, repr):
        try:
            text = " ".join(write(error).split())
        except BaseException:  # the text of a plugin's error can fail in any way
            continue
        return f"{name}: {shortened(text, LONGEST_REASON)}" if text else name
    return f"{name}, whose text cannot be shown"


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
