"""Captions as sentences, as the training setting `caption_format` asks for."""

from __future__ import annotations

from functools import cache
from typing import Any

VERSION = "2"
"""Part of the keys of trained models: raise it whenever sentences change."""

_FINAL = " .!?'\"’”»)]"
# what the Penn Treebank splits from its word
_CLITIC = r"(?i)(?<=\w) (?='(?:s|re|ve|ll|m|d)(?![\w'])|n't(?![\w']))"
# an apostrophe that is not within a word may be a quotation mark
_OUTER = r"(?<!\w)'|'(?!\w)"
_CLOSING = r"(?<=[^\s'])'(?!\w)"
_ENDED = r"[\p{Sentence_Terminal}…‥⋯]\p{M}*[ \p{Quotation_Mark}\p{Pe}\p{Pf}]*$"


def sentence(caption: str) -> str:
    """Write a caption as a sentence: "a dog runs ." becomes "A dog runs.".

    Spaces that tokenizers put before a comma, a final mark or an ending such as 's are removed, the
    first letter becomes a capital, and a full stop is added unless the text ends with a mark of any
    script that ends sentences. No other letter changes, and a sentence stays as it is.
    """
    text = _possessives(" ".join(caption.split()).replace(" ,", ","))
    body = text.rstrip(_FINAL)
    marks = _pattern(r" (?=[.!?])").sub("", text[len(body) :])
    text = body + _pattern(r"(?<!\.)\.\.(?!\.)").sub(".", marks)
    if not text.strip(" ."):
        return ""
    # title case, because the capital of a ligature such as "ﬁ" begins a word
    text = text[0].title() + text[1:]
    return text if _pattern(_ENDED).search(text) else f"{text}."


def _possessives(text: str) -> str:
    # 's may also begin a quotation that is closed later
    closed = max((match.start() for match in _pattern(_CLOSING).finditer(text)), default=0)
    text = text[:closed] + _pattern(_CLITIC).sub("", text[closed:])
    if len(_pattern(_OUTER).findall(text)) == 1:  # it cannot be a pair of quotation marks
        text = _pattern(r"(?<=\ws) (?=' \w)").sub("", text)
    return text


@cache
def _pattern(text: str) -> Any:
    import regex  # most commands do not need it

    return regex.compile(text, regex.V1)
