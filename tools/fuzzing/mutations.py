"""Changes to bytes, texts and JSON data that break them, or nearly do."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

BYTES = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xff", b"\r\n", b"\n", b"\x1b[31m"),
    *(b"[", b"{", b'"'),
)
TEXTS = (
    *("", " ", "\0", "a" * 10_000, "../../x", "/etc/hostname", "~", "~nobody-known"),
    *("\x1b[31m", ".", "\u202e", "\ud83d", "é", "字", "e\u0301", "nan", "inf", "none"),
    *("true", "1e999", "9" * 5000, "-1"),
    *("[", "]", "(((", "{}", "=", ",", "+", ":", "::", "a=b", "'", '"', "\\", "%s", "{0}", "\n"),
)
NUMBERS: tuple[float, ...] = (
    *(0, -1, 1, 2, 7, 1.5, -0.0, 1e308, 1e-320, 2**31, 2**63, 2**64, 10**30, 10**400),
    *(float("nan"), float("inf"), float("-inf")),
)


def mutate_bytes(stream: Random, content: bytes) -> bytes:
    """Return bytes with one to four changes: flipped, cut off, removed, repeated or inserted."""
    result = bytearray(content)
    for _ in range(stream.randint(1, 4)):
        size = len(result)
        at, until = sorted((stream.randint(0, size), stream.randint(0, size)))
        match stream.randrange(7):
            case 0 if size:
                result[min(at, size - 1)] ^= 1 << stream.randrange(8)
            case 1:
                del result[at:]
            case 2:
                del result[at : min(until, at + 40)]
            case 3:
                result[at:at] = result[at : min(until, at + 200)] * stream.choice((1, 2, 40))
            case 4:
                result[at:at] = stream.choice(BYTES) * stream.choice((1, 3, 2000))
            case 5:
                result[at : at + 8] = stream.randbytes(stream.randint(0, 8))
            case _:
                result[at:at] = str(stream.choice(NUMBERS)).encode()
    return bytes(result)


def mutate_text(stream: Random, text: str, marks: str = ":,=+") -> str:
    """Return a text with one to three changes, mostly between marks."""
    for _ in range(stream.randint(1, 3)):
        places = [n for n, letter in enumerate(text) if letter in marks] + [len(text)]
        at = stream.choice((*places, stream.randint(0, len(text))))
        until = min((n for n in places if n > at), default=len(text))
        match stream.randrange(5):
            case 0:
                text = text[:at] + stream.choice(TEXTS) + text[at:]
            case 1:
                text = text[: at + 1] + stream.choice(TEXTS) + text[until:]
            case 2:
                text = text[: at + 1] + str(stream.choice(NUMBERS)) + text[until:]
            case 3:
                text = text[:at] + text[until:]
            case _:
                text = text[:until] + text[at:]
    return text


def mutate_json(stream: Random, data: Any) -> Any:
    """Return JSON data with one to three values replaced, removed, renamed, repeated or nested."""
    data = json.loads(json.dumps(data))
    for _ in range(stream.randint(1, 3)):
        data = _mutate_once(stream, data)
    return data


def dump(stream: Random, data: Any) -> str:
    """Return data as JSON text, in one of the ways in which programs write it, or nearly."""
    text = json.dumps(
        data, ensure_ascii=stream.random() < 0.5, indent=stream.choice((None, None, 1))
    )
    match stream.randrange(12):
        case 0:
            return "\ufeff" + text
        case 1:  # deeper than Python's stack
            return text.replace("[", "[" * 50_000, 1)
        case 2:
            return text.replace("1", "1" * 5000, 1)
        case 3:
            return text.replace("{", '{"image": 1, "image": 2, ', 1)
        case _:
            return text


def encode(stream: Random, text: str) -> bytes:
    """Return a text in UTF-8, or sometimes in another encoding."""
    encoding = stream.choice(("utf-8",) * 12 + ("utf-16", "utf-8-sig", "latin-1", "utf-32-be"))
    errors = "replace" if encoding == "latin-1" else stream.choice(("replace", "surrogatepass"))
    return text.encode(encoding, errors)


def value(stream: Random) -> Any:
    """Return any JSON value."""
    choices: tuple[Callable[[], Any], ...] = (
        lambda: stream.choice(TEXTS),
        lambda: stream.choice(NUMBERS),
        lambda: stream.choice((None, True, False)),
        lambda: stream.choice(([], {}, [[]], [None], {"": ""}, ["a", 1], {"a": [1]})),
        lambda: _nested(stream.choice((3, 60, 90))),
    )
    return stream.choice(choices)()


def _nested(depth: int) -> Any:
    data: Any = 1
    for _ in range(depth):
        data = [data]
    return data


def _mutate_once(stream: Random, data: Any) -> Any:
    places = list(_places(data))
    if not places:
        return value(stream)
    container, key = stream.choice(places)
    match stream.randrange(8):
        case 0:
            del container[key]
        case 1 if isinstance(container, list):
            container.append(container[key])
        case 1:
            container[stream.choice(TEXTS)] = container.pop(key)
        case 2:
            container[key] = [container[key]]
        case 3:
            other, at = stream.choice(places)
            container[key] = json.loads(json.dumps(other[at]))
        case 4 if isinstance(container[key], str):
            container[key] = mutate_text(stream, container[key], " ./")
        case _:
            container[key] = value(stream)
    return data


def _places(data: Any) -> Any:
    keys: Any = (
        data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    )
    for key in keys:
        yield data, key
        yield from _places(data[key])
