"""Small valid files of the data sets on disk that `readers` changes: texts, JSON and a tar shard.

Pickles are not among them: a changed one may ask for any amount of memory.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping


def _shard() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in (("0.jpg", b"x" * 600), ("0.txt", b"A dog."), ("0.json", b"{}")):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return file.getvalue()


_SPLITS = {
    "images": [
        {"filename": f"{n}.jpg", "split": split, "sentences": [{"raw": "A dog."}]}
        for n, split in enumerate(("train", "val", "restval"))
    ]
}

FILES: Mapping[str, tuple[str, bytes]] = {
    "csv": ("a.csv", b'image,caption,split\n0.jpg,"A ""dog"", it",train\n1.jpg,B,test\n'),
    "tsv": ("a.tsv", b'image\tcaption\n0.jpg\t["A", "B"]\n1.jpg\tC\n'),
    "flickr of kaggle": ("captions.txt", b'image,caption\n0.jpg,"A dog, it"\n0.jpg,B\n'),
    "flickr with bars": ("results.csv", b"image_name| comment_number| comment\n0.jpg| 0| A\n"),
    "flickr with tabs": ("Flickr8k.token.txt", b"0.jpg#0\tA dog .\n0.jpg#1\tB\n1.jpg#0\tC\n"),
    "karpathy": ("dataset_flickr8k.json", json.dumps(_SPLITS).encode()),
    "webdataset": ("train-0.tar", _shard()),
}
"""The name and the content of a file for each data set, whose name is the first word."""
