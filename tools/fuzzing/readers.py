"""The target `readers`: files of features, captions, predictions and options, changed and read."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzzing.dataset_files import FILES
from fuzzing.mutations import dump, encode, mutate_bytes, mutate_json, mutate_text
from prefixcap.captioning.encode_images import read_ids
from prefixcap.evaluation.evaluate import evaluate
from prefixcap.evaluation.readers import read_records
from prefixcap.interfaces.dataset import DatasetConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.study.definition import options
from prefixcap.util.feature_files import FeatureFile
from prefixcap.util.files import read_json, read_lines

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)
LINES = [
    {"image": f"{n}.png", "split": split, "captions": ["A dog runs.", "Two dogs \u00e9."]}
    for n, split in enumerate(("train", "val", "test"))
]
PREDICTIONS = [
    {"image": "0.png", "references": ["a dog"], "prediction": "a dog"},
    {
        "image": "val2014/COCO_val2014_000000000042.jpg",
        "references": ["a cat", "it"],
        "captions": [{"text": "a cat", "logprob": -1.5, "tokens": 3, "finish": "stop"}],
    },
]
RESULTS = [{"image_id": 42, "caption": "a cat"}, {"image_id": "7", "caption": "a dog"}]
TRUTH = {
    "images": [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg"}],
    "annotations": [{"image_id": n, "id": n, "caption": "A cat."} for n in (42, 7)],
}
PHOTOS = (("train2014", 9, "train"), ("val2014", 42, "test"), ("val2014", 73, "restval"))
STUDY = 'decoder = ["greedy", "beam:num_beams=2"]\nprefix_len = [1, 2]\nseed = 0\nepochs = 1\n'


class Readers:
    """Reads one changed file in a folder of valid ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cases: tuple[Callable[[Random], None], ...] = (
            self._features,
            self._tensors,
            self._captions,
            self._coco,
            self._dataset_file,
            self._predictions,
            self._results,
            self._ids,
            self._study_file,
            self._artifacts,
        )

    def run(self, stream: Random) -> None:
        """Run one case."""
        stream.choice(self._cases)(stream)

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def _features(self, stream: Random) -> None:
        file = io.BytesIO()
        dtype = stream.choice(("<f2", "<f4", "<f8", ">f4", "<i4", "|b1", "<c8", "|S3"))
        array = ROWS.astype(dtype)
        np.save(file, np.asfortranarray(array) if stream.random() < 0.2 else array)
        content = file.getvalue()
        if stream.random() < 0.5:
            # the header is the text of a dictionary, 10 bytes after the start
            end = content.index(b"\n")
            header = mutate_text(stream, content[10:end].decode("latin-1").rstrip(), "'(),:{} ")
            text = header.encode("utf-8", errors="replace")[:60_000] + b"\n"
            content = content[:8] + struct.pack("<H", len(text)) + text + content[end + 1 :]
        else:
            content = mutate_bytes(stream, content)
        self._read_features(self._write(stream.choice(("x.npy", "x.safetensors", "x")), content))

    def _tensors(self, stream: Random) -> None:
        info = {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}
        header = json.dumps({"a": info, "__metadata__": {"b": "c"}}).encode()
        if stream.random() < 0.6:
            header = encode(stream, dump(stream, mutate_json(stream, json.loads(header))))
        content = struct.pack("<Q", len(header)) + header + ROWS.tobytes()
        if stream.random() < 0.5:
            content = mutate_bytes(stream, content)
        self._read_features(self._write("x.safetensors", content))

    @staticmethod
    def _read_features(path: Path) -> None:
        file = FeatureFile(path)
        for row in range(min(3, len(file))):
            file.row(row)
            file.digest(row)

    def _changed(self, stream: Random, data: Any) -> bytes:
        text = dump(stream, mutate_json(stream, data))
        content = encode(stream, text)
        return mutate_bytes(stream, content) if stream.random() < 0.2 else content

    def _changed_lines(self, stream: Random, rows: list[Any]) -> bytes:
        changed = stream.randrange(len(rows))
        texts = [
            self._changed(stream, row) if number == changed else json.dumps(row).encode()
            for number, row in enumerate(rows)
        ]
        content = stream.choice((b"\n", b"\n", b"\r\n", b"\n\n", b"\r")).join(texts)
        return mutate_bytes(stream, content) if stream.random() < 0.2 else content

    def _captions(self, stream: Random) -> None:
        captions = self._write("jsonl/captions.jsonl", self._changed_lines(stream, LINES))
        np.save(captions.parent / "x.npy", ROWS)
        (captions.parent / "images").mkdir(exist_ok=True)
        self._read_dataset(f"jsonl:path={captions.parent}")

    def _coco(self, stream: Random) -> None:
        root = self._folder / "coco"
        names = {n: f"COCO_{folder}_{n:012d}.jpg" for folder, n, _ in PHOTOS}
        files: dict[str, Any] = {
            f"annotations/captions_{place}.json": {
                "images": [{"id": n, "file_name": names[n]} for f, n, _ in PHOTOS if f == place],
                "annotations": [
                    {"image_id": n, "caption": "A."} for f, n, _ in PHOTOS if f == place
                ],
            }
            for place in ("train2014", "val2014")
        }
        files["dataset_coco.json"] = {
            "images": [
                {"filepath": folder, "filename": names[n], "cocoid": n, "split": split}
                for folder, n, split in PHOTOS
            ]
        }
        changed = stream.choice([*files])
        for name, data in files.items():
            content = self._changed(stream, data) if name == changed else json.dumps(data).encode()
            self._write(f"coco/{name}", content)
        for place in ("train2014", "val2014"):
            (root / place).mkdir(exist_ok=True)
        self._read_dataset(f"coco:path={root},splits={stream.choice(('karpathy', 'official'))}")

    def _dataset_file(self, stream: Random) -> None:
        kind = stream.choice([*FILES])
        name, content = FILES[kind]
        path = self._write(f"{kind}/{name}", mutate_bytes(stream, content))
        self._read_dataset(f"{kind.split()[0]}:path={path.parent}")

    @staticmethod
    def _read_dataset(spec: str) -> None:
        dataset = default_registry().parse(DatasetConfig, spec).build()
        for split in dataset.splits:
            for example in dataset.examples(split):
                if example.image.embedding is not None:
                    example.image.embedding()
        dataset.digest()

    def _predictions(self, stream: Random) -> None:
        path = self._write("p.jsonl", self._changed_lines(stream, PREDICTIONS))
        evaluate(read_records(path), ["length"])

    def _results(self, stream: Random) -> None:
        changed = stream.randrange(2)
        results, truth = (
            self._changed(stream, data) if number == changed else json.dumps(data).encode()
            for number, data in enumerate((RESULTS, TRUTH))
        )
        results_file, truth_file = self._write("r.json", results), self._write("t.json", truth)
        records = read_records(results_file, truth_file, common=stream.random() < 0.5)
        evaluate(records, ["length"])

    def _ids(self, stream: Random) -> None:
        content = mutate_bytes(stream, b"0.png\n1.png\n2.png\n")
        read_ids(self._write("ids.txt", content), 3)

    def _study_file(self, stream: Random) -> None:
        text = mutate_text(stream, STUDY, '"=[],:\n ')
        path = self._write("study.toml", encode(stream, text))
        options.study(options.read_file(path), default_registry())

    def _artifacts(self, stream: Random) -> None:
        read_json(self._write("a.json", self._changed(stream, TRUTH)))
        read_lines(self._write("a.jsonl", self._changed_lines(stream, LINES)))
