"""What is wrong with a data set: its images, its captions, and how its splits differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from prefixcap.errors import listed
from prefixcap.interfaces.dataset import Dataset, Example
from prefixcap_datasets.commands.near import BITS, near_pairs
from prefixcap_datasets.commands.reading import SeenImage, seen_images
from prefixcap_datasets.problems import REPEATED, WITHOUT_CAPTIONS, Noted

LEAKS = "leakage_between_splits"
MISSING, UNREADABLE, DUPLICATES = "missing_images", "unreadable_images", "duplicate_images"
EMBEDDINGS = "unreadable_embeddings"
SAME_CAPTIONS, NEAR = "same_captions_in_two_splits", "near_duplicates"
METHOD = "difference hash of 64 bits (Krawetz 2013)"


@attrs.frozen(kw_only=True)
class Finding:
    """Something about one or several images, each by its split and id, in a sentence."""

    text: str
    images: tuple[tuple[str, str], ...] = ()


@attrs.define(kw_only=True)
class Findings:
    """The result of a check.

    Attributes:
        splits: By split, the numbers of its images and captions, and of captions an image.
        problems: What is wrong, by kind.
        hints: What may be wrong, by kind.
        counts: The numbers of images, of those that were read (None if none was to be), were not
            there, or could not be read, and of embeddings.
        near: How many pairs look alike, and by which method, if that was asked for.
    """

    splits: dict[str, dict[str, float]]
    problems: dict[str, list[Finding]] = attrs.field(factory=dict)
    hints: dict[str, list[Finding]] = attrs.field(factory=dict)
    counts: dict[str, int | None] = attrs.field(factory=dict)
    near: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {"clean": not self.problems, **attrs.asdict(self)}


@attrs.frozen
class _Place:
    """An example in its split."""

    split: str
    example: Example

    @property
    def name(self) -> tuple[str, str]:
        return self.split, self.example.image.id

    def __str__(self) -> str:
        return f"{self.split}: {self.example.image.id}"


def check_dataset(
    dataset: Dataset,
    noted: Noted,
    *,
    images: bool = True,
    near: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Findings:
    """Read each image of a data set once.

    Args:
        dataset: The data set.
        noted: What its reader noted when it was opened.
        images: Whether to read its images, besides embeddings and captions.
        near: Of how many bits the hashes of images that look alike may differ; None looks for none.
        progress: Called with the number of images done.
    """
    places = list(_places(dataset))
    findings = Findings(
        splits={split: _counts(dataset.examples(split)) for split in dataset.splits}
    )
    items = [place.example.image for place in places]
    seen = seen_images(items, images=images, looks=near is not None, progress=progress)
    findings.problems = _filled(
        {**_of_files(places, seen), **_grouped(places, seen), **_of_captions(dataset, noted)}
    )
    findings.hints = _filled({SAME_CAPTIONS: list(_same_captions(places))})
    findings.counts = _numbers(places, seen, images=images)
    if near is not None:
        _find_near(findings, places, seen, near)
    return findings


def _filled(found: Mapping[str, list[Finding]]) -> dict[str, list[Finding]]:
    return {kind: each for kind, each in found.items() if each}


def _places(dataset: Dataset) -> Iterator[_Place]:
    for split in dataset.splits:
        yield from (_Place(split, example) for example in dataset.examples(split))


def _counts(examples: Sequence[Example]) -> dict[str, float]:
    captions = [len(example.references) for example in examples]
    return {
        "images": len(captions),
        "captions": sum(captions),
        "min": min(captions, default=0),
        "mean": sum(captions) / max(1, len(captions)),
        "max": max(captions, default=0),
    }


def _numbers(
    places: Sequence[_Place], seen: Sequence[SeenImage], *, images: bool
) -> dict[str, int | None]:
    missing = sum(each.is_missing for each in seen)
    unreadable = sum(bool(each.error) for each in seen)
    opened = sum(place.example.image.open is not None for place in places)
    return {
        "images": len(places),
        "images_read": opened - missing - unreadable if images else None,
        "missing": missing,
        "unreadable": unreadable,
        "embeddings": sum(place.example.image.embedding is not None for place in places),
    }


def _of_files(places: Sequence[_Place], seen: Sequence[SeenImage]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {MISSING: [], UNREADABLE: [], EMBEDDINGS: []}
    for place, each in zip(places, seen, strict=True):
        image = place.example.image
        if each.is_missing and image.embedding is None:
            text = f"{place}: there is no file {image.path}"
            found[MISSING].append(Finding(text=text, images=(place.name,)))
        for kind, error in ((UNREADABLE, each.error), (EMBEDDINGS, each.embedding_error)):
            if error:
                found[kind].append(Finding(text=f"{place}: {error}", images=(place.name,)))
    return found


def _grouped(places: Sequence[_Place], seen: Sequence[SeenImage]) -> dict[str, list[Finding]]:
    """Find images that are the same as others, by their ids, files and contents."""
    files = [_file(place) for place in places]
    leaks, same = list[Finding](), list[Finding]()
    done: set[frozenset[int]] = set()
    for what, keys in (
        ("id", [place.example.image.id for place in places]),
        ("file", files),
        ("content", [each.content for each in seen]),
    ):
        for group in _groups(keys):
            members = [places[i] for i in group]
            if frozenset(group) in done:
                continue
            done.add(frozenset(group))
            finding = _finding(members, f"the same {what}")
            if len({place.split for place in members}) > 1:
                leaks.append(finding)
            elif what != "id":  # the reader notes these, with their place
                same.append(finding)
    return {LEAKS: leaks, DUPLICATES: same}


def _file(place: _Place) -> tuple[int, int] | None:
    """Return what identifies a file, which several links may name."""
    path = place.example.image.path
    try:
        state = None if path is None else path.stat()
    except (OSError, ValueError):  # noted when it is read
        return None
    return None if state is None else (state.st_dev, state.st_ino)


def _groups(keys: Sequence[Hashable | None]) -> list[list[int]]:
    """Return the numbers of those with a key that others have."""
    groups: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(number)
    return [group for group in groups.values() if len(group) > 1]


def _finding(members: Iterable[_Place], end: str) -> Finding:
    members = list(members)
    return Finding(
        text=f"{listed(map(str, members))} have {end}",
        images=tuple(place.name for place in members),
    )


def _of_captions(dataset: Dataset, noted: Noted) -> dict[str, list[Finding]]:
    """Return what the reader noted, and images without captions that no reader of ours read."""
    found: dict[str, list[Finding]] = {}
    for (kind, _), text in noted.items():
        found.setdefault(kind, []).append(Finding(text=text))
    for split in dataset.splits:
        examples = dataset.examples(split)
        if not any(example.references for example in examples):
            continue
        for example in examples:
            if not example.references and (WITHOUT_CAPTIONS, example.image.id) not in noted:
                text = f"{split}: {example.image.id}: it has no captions"
                place = (split, example.image.id)
                found.setdefault(WITHOUT_CAPTIONS, []).append(Finding(text=text, images=(place,)))
    ids = Counter(each.image.id for split in dataset.splits for each in dataset.examples(split))
    for name, count in ids.items():
        if count > 1 and (REPEATED, name) not in noted:
            text = f"{name}: {count} images have this id"
            found.setdefault(REPEATED, []).append(Finding(text=text))
    return found


def _same_captions(places: Sequence[_Place]) -> Iterator[Finding]:
    keys = [frozenset(place.example.references) or None for place in places]
    for group in _groups(keys):
        members = [places[i] for i in group]
        if len({place.split for place in members}) > 1:
            yield _finding(members, "the same captions")


def _find_near(
    findings: Findings, places: Sequence[_Place], seen: Sequence[SeenImage], most: int
) -> None:
    # one image of each content: the others are duplicates
    first = {
        each.content: i for i, each in reversed(list(enumerate(seen))) if each.look is not None
    }
    numbers = sorted(first.values())
    total, pairs = near_pairs([seen[i].look or 0 for i in numbers], most)
    found = [(places[numbers[a]], places[numbers[b]], bits) for bits, a, b in pairs]
    found.sort(key=lambda pair: (pair[0].split == pair[1].split, pair[2]))
    findings.near = {"method": METHOD, "most_bits": most, "pairs": total}
    near = [
        Finding(text=f"{a} and {b} differ in {bits} of {BITS} bits", images=(a.name, b.name))
        for a, b, bits in found
    ]
    findings.hints |= _filled({NEAR: near})
