"""Speed and memory of encoding images, beside the encoder alone and ClipCap's script.

    python benchmarks/features.py [--device cuda] [--images 320] [--many 20000]

The encoder has ViT-B/32's shape and random weights; the images are JPEG files of 640 x 480 pixels
that are drawn here. ClipCap's script encodes one image at a time, once for each of its captions.
The sides take turns, and the best run of each counts. Memory is measured with a tiny encoder.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from measuring import processor, settle
from PIL import Image
from prefixcap_clip import clip_encoder
from prefixcap_clip.clip_encoder import CLIPEncoder, load, pixels

from prefixcap.captioning.encode_images import as_item, iter_encoded
from prefixcap.captioning.feature_store import FeatureStore, _hash_ids
from prefixcap.util.files import write_json, write_text

CAPTIONS = 5
"""Captions an image, as in COCO."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=2)
    settings = parser.parse_args()
    device = torch.device(settings.device)
    print(f"{processor(device)}, {os.cpu_count()} cores, torch {torch.__version__}")
    with TemporaryDirectory() as folder:
        paths = draw(Path(folder), settings.images)
        # first, since a process keeps the highest memory that it had
        memory(paths[:16], made(Path(folder), 1, 64, device), settings.many)
        speed(paths, made(Path(folder), 12, 768, device), device, settings.runs)
        for shape in ((120_000, 512), (120_000, 50, 768)):
            opening(Path(folder) / f"store{len(shape)}", shape)


def draw(folder: Path, count: int) -> list[Path]:
    """Save smooth noise with grain, whose files are as large as photographs'."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        small = Image.fromarray(generator.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((640, 480), Image.Resampling.BICUBIC)).astype(int)
        grain = smooth + generator.integers(-8, 9, smooth.shape)
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def made(folder: Path, layers: int, width: int, device: torch.device) -> CLIPEncoder:
    """Save a CLIP with random weights, and load it as any checkpoint."""
    torch.manual_seed(0)
    model = clip_encoder._clip_model().CLIP(512, 224, layers, width, 32, 77, 49408, 64, 1, 1)
    torch.save(model.state_dict(), folder / "clip.pt")
    return load(str(folder / "clip.pt"), "", str(device))


def speed(paths: list[Path], encoder: CLIPEncoder, device: torch.device, runs: int) -> None:
    inputs = torch.stack([pixels(Image.open(p).convert("RGB"), 224) for p in paths])
    one = paths[: max(1, len(paths) // 16)]

    def alone() -> None:
        for batch in torch.split(inputs, 64):
            encoder._model.encode_image(batch.to(device)).cpu()

    def ours() -> None:
        for _ in iter_encoded(encoder, [as_item(p, n) for n, p in enumerate(paths)]):
            pass

    def clipcap() -> None:
        for path in one:
            for _ in range(CAPTIONS):
                image = pixels(Image.open(path).convert("RGB"), 224)[None].to(device)
                encoder._model.encode_image(image).cpu()

    sides: dict[str, tuple[Callable[[], None], int]] = {
        "the encoder alone, batches of 64": (alone, len(paths)),
        "iter_encoded, JPEG decoding included": (ours, len(paths)),
        "ClipCap's script, captions": (clipcap, CAPTIONS * len(one)),
    }
    best = dict.fromkeys(sides, 0.0)
    with torch.no_grad():
        for _ in range(runs):
            for name, (call, count) in sides.items():
                settle(device)
                begin = time.perf_counter()
                call()
                settle(device)
                best[name] = max(best[name], count / (time.perf_counter() - begin))
    for name, rate in best.items():
        print(f"{name:<40}{rate:8.2f} a second", flush=True)
    base, own, script = best.values()
    print(f"of the encoder's own speed: {own / base:.2f}")
    print(f"captions, times ClipCap's: {CAPTIONS * own / script:.1f}", flush=True)


def memory(paths: list[Path], encoder: CLIPEncoder, many: int) -> None:
    for count in (1_000, many):
        items = [as_item(paths[n % len(paths)], n) for n in range(count)]
        for _ in iter_encoded(encoder, items):
            pass
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory after {count:,} images: {peak:,.0f} MB", flush=True)


def opening(folder: Path, shape: tuple[int, ...]) -> None:
    """Open a store whose file of features is sparse."""
    folder.mkdir()
    np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, shape).flush()
    ids = [f"COCO_train2014_{number:012}.jpg" for number in range(shape[0])]
    write_text(folder / "ids.txt", "".join(f"{image}\n" for image in ids))
    statistics = {"mean": [0.0] * shape[-1], "rms": 0.0, "norm": 0.0, "norm_std": 0.0}
    made_by = {"key": "", "dtype": "float32", "encoder": "clip", "encoder_digest": ""}
    hashes = {"features_sha256": "", "ids_sha256": _hash_ids(ids)}
    info = {"format": 1, **made_by, **hashes, "statistics": statistics, "unreadable": {}}
    write_json(folder / "store.json", info)
    begin = time.perf_counter()
    store = FeatureStore.open(folder)
    row = store.file.row(store.row(ids[-1]))
    print(f"store of {shape}: opened, and a row read, in {time.perf_counter() - begin:.2f} s")
    assert row.shape == shape[1:]


if __name__ == "__main__":
    main()
