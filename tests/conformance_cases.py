"""Cases of the built-in components, with small models and folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
from masked_lm_folder import masked_lm_folder
from small_clip import small_clip
from small_vision import hf_folder, open_clip_folder, timm_file

from prefixcap.interfaces.component import Component
from prefixcap.interfaces.mapper import MapperShape
from prefixcap.plugin.registry import Registry
from prefixcap.testing import Case
from prefixcap.testing.case import SHAPES, drawn_images

Make = Callable[[type[Component], Path], Case]

SENTENCES = (
    "A dog runs on the beach.",
    "A brown dog is running by the sea.",
    "Two red balls lie near a tree.",
    "Below a tree there are two balls.",
)


def clip(config: type[Component], folder: Path) -> Case:
    """A CLIP of one layer with random weights, in OpenAI's checkpoint format."""
    import torch

    torch.save(small_clip().state_dict(), folder / "clip.pt")
    return Case(config=config(model=str(folder / "clip.pt")))  # type: ignore[call-arg]


def open_clip(config: type[Component], folder: Path) -> Case:
    """A CLIP of two layers with random weights, in a folder as open_clip's repositories are."""
    return Case(config=config(model=str(open_clip_folder(folder))))  # type: ignore[call-arg]


def timm(config: type[Component], folder: Path) -> Case:
    """One of timm's test models with random weights in a file."""
    file = timm_file(folder / "weights.pth")
    settings = {"model": "test_vit", "weights": str(file), "features": "tokens"}
    return Case(config=config(**settings))


def hf_vision(config: type[Component], folder: Path) -> Case:
    """A CLIP of two layers with random weights, saved by transformers."""
    return Case(config=config(model=str(hf_folder(folder))))  # type: ignore[call-arg]


def hf(config: type[Component], folder: Path) -> Case:
    """A GPT-2 of one layer with random weights and a tokenizer of bytes, saved by transformers."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*letters, "<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    end = len(vocabulary) - 1
    sizes = GPT2Config(
        vocab_size=end + 1,
        n_positions=64,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=end,
        eos_token_id=end,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(sizes).save_pretrained(folder)
    return Case(config=config(model=str(folder)))  # type: ignore[call-arg]


def _draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    read = drawn_images()[number].open
    assert read is not None
    read().save(path)


def jsonl(config: type[Component], folder: Path) -> Case:
    """A folder of three images with their captions."""
    lines = []
    for number, split in enumerate(("train", "train", "test")):
        _draw(folder / "images" / f"{number}.png", number)
        lines.append({"image": f"{number}.png", "split": split, "captions": SENTENCES})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return Case(config=config(path=str(folder)))  # type: ignore[call-arg]


def coco(config: type[Component], folder: Path) -> Case:
    """Four images in COCO's folders, with annotations and Karpathy's splits as downloaded."""
    places = (("train", "train"), ("val", "restval"), ("val", "val"), ("val", "test"))
    splits = []
    for part in ("train", "val"):
        numbers = [i for i, (own, _) in enumerate(places) if own == part]
        names = {i: f"COCO_{part}2014_{i:012d}.jpg" for i in numbers}
        images = [{"id": i, "file_name": names[i], "height": 80, "width": 48} for i in numbers]
        captions = [
            {"id": 10 * i + j, "image_id": i, "caption": text}
            for i in numbers
            for j, text in enumerate(SENTENCES)
        ]
        for i in numbers:
            _draw(folder / f"{part}2014" / names[i], i)
            sentences = [{"raw": text, "imgid": i, "sentid": j} for j, text in enumerate(SENTENCES)]
            splits.append(
                {
                    "filepath": f"{part}2014",
                    "filename": names[i],
                    "imgid": i,
                    "cocoid": i,
                    "split": places[i][1],
                    "sentences": sentences,
                }
            )
        (folder / "annotations").mkdir(exist_ok=True)
        data = {"info": {}, "licenses": [], "images": images, "annotations": captions}
        (folder / "annotations" / f"captions_{part}2014.json").write_text(json.dumps(data))
    (folder / "dataset_coco.json").write_text(json.dumps({"images": splits, "dataset": "coco"}))
    return Case(config=config(path=str(folder)))  # type: ignore[call-arg]


def karpathy(config: type[Component], folder: Path) -> Case:
    """Four images in one of Karpathy's split files."""
    images = [
        {
            "filename": f"{i}.jpg",
            "imgid": i,
            "split": split,
            "sentences": [
                {"raw": text, "imgid": i, "sentid": j} for j, text in enumerate(SENTENCES)
            ],
        }
        for i, split in enumerate(("train", "restval", "val", "test"))
    ]
    for i in range(4):
        _draw(folder / "images" / f"{i}.jpg", i)
    (folder / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))
    return Case(config=config(path=str(folder)))  # type: ignore[call-arg]


def flickr(config: type[Component], folder: Path) -> Case:
    """Three images in Kaggle's format of Flickr8k, with a list of two."""
    for i in range(3):
        _draw(folder / "Images" / f"{i}.jpg", i)
    lines = [f"{i}.jpg,{text}\n" for i in range(3) for text in SENTENCES]
    (folder / "captions.txt").write_text("image,caption\n" + "".join(lines))
    (folder / "Flickr_8k.trainImages.txt").write_text("0.jpg\n2.jpg\n")
    return Case(config=config(path=str(folder)))  # type: ignore[call-arg]


def table(config: type[Component], folder: Path) -> Case:
    """Three images, each with a row per caption, with tabs between the cells."""
    splits = ("train", "test", "train")
    for i in range(3):
        _draw(folder / "images" / f"{i}.png", i)
    rows = [f"{i}.png\t{text}\t{splits[i]}\n" for text in SENTENCES for i in range(3)]
    (folder / "a.tsv").write_text("image\tcaption\tsplit\n" + "".join(rows))
    return Case(config=config(path=str(folder)))  # type: ignore[call-arg]


def images(config: type[Component], folder: Path) -> Case:
    """Three images without captions."""
    for i in range(3):
        _draw(folder / f"{i}" / "a.png", i)
    return Case(config=config(path=str(folder)))  # type: ignore[call-arg]


def webdataset(config: type[Component], folder: Path) -> Case:
    """Two shards of two images."""
    import tarfile

    for part in ("train", "test"):
        with tarfile.open(folder / f"{part}.tar", "w") as shard:
            for i in range(2):
                key = folder / "files" / f"{part}{i}"
                _draw(key.with_suffix(".png"), i + (part == "test"))
                key.with_suffix(".txt").write_text("\n".join(SENTENCES))
                for ending in (".png", ".txt"):
                    shard.add(key.with_suffix(ending), f"{part}{i}{ending}")
    return Case(config=config(path=str(folder)))  # type: ignore[call-arg]


def clipcap(config: type[Component], folder: Path) -> Case:
    """Three images with two captions each, in a pickle of ClipCap's."""
    import pickle

    import torch

    captions = [
        {"image_id": str(i // 2), "caption": SENTENCES[i % 4], "clip_embedding": i}
        for i in range(6)
    ]
    embeddings = torch.arange(12.0).view(6, 2)
    content = pickle.dumps({"clip_embedding": embeddings, "captions": captions})
    (folder / "train.pkl").write_bytes(content)
    return Case(config=config(path=str(folder)))  # type: ignore[call-arg]


def llava(config: type[Component], folder: Path) -> Case:
    """With pooling, which accepts more shapes: as many tokens as vectors, or more."""
    sizes = ((8, None, 1, 96), (6, 5, 5, 240), (8, 7, 3, 96))
    shapes = tuple(
        MapperShape(feature_width=d, feature_tokens=n, prefix_length=p, embedding_width=e)
        for d, n, p, e in sizes
    )
    return Case(config=config(pool=True), shapes=shapes)  # type: ignore[call-arg]


def deep(config: type[Component], folder: Path) -> Case:
    """Keys and values of a width that is none of the others."""
    shapes = tuple(attrs.evolve(shape, state_width=40) for shape in SHAPES)
    return Case(config=config(), shapes=shapes)


def qformer(config: type[Component], folder: Path) -> Case:
    """Two layers, one of which attends to the tokens."""
    return Case(config=config(width=48, num_layers=2))  # type: ignore[call-arg]


def mbr(config: type[Component], folder: Path) -> Case:
    """Minimum Bayes risk over samples and captions of similar images."""
    return Case(config=config(neighbors=2))  # type: ignore[call-arg]


def conzic(config: type[Component], folder: Path) -> Case:
    """A BERT of one layer whose tokens are the letters of the table language model."""
    settings = {"mlm": str(masked_lm_folder(folder)), "prompt": "", "length": 6, "sweeps": 2}
    return Case(config=config(**settings))


def zerocap(config: type[Component], folder: Path) -> Case:
    """Two beams and one gradient step for each token."""
    return Case(config=config(num_beams=2, iterations=1))  # type: ignore[call-arg]


def on_ray(config: type[Component], folder: Path) -> Case:
    """Two workers on this machine, in a Ray that all rules share."""
    import ray

    if not ray.is_initialized():
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    return Case(config=config(workers=2, num_cpus=0.1))  # type: ignore[call-arg]


def plain(config: type[Component], folder: Path) -> Case:
    """All defaults."""
    return Case(config=config())


SPECIAL: Mapping[tuple[str, str], Make] = {
    ("encoder", "clip"): clip,
    ("encoder", "hf-vision"): hf_vision,
    ("encoder", "open-clip"): open_clip,
    ("encoder", "timm"): timm,
    ("lm", "hf"): hf,
    ("dataset", "jsonl"): jsonl,
    ("dataset", "clipcap"): clipcap,
    ("dataset", "coco"): coco,
    ("dataset", "csv"): table,
    ("dataset", "flickr"): flickr,
    ("dataset", "images"): images,
    ("dataset", "karpathy"): karpathy,
    ("dataset", "tsv"): table,
    ("dataset", "webdataset"): webdataset,
    ("mapper", "deep"): deep,
    ("launcher", "ray"): on_ray,
    ("mapper", "llava"): llava,
    ("mapper", "qformer"): qformer,
    ("decoder", "conzic"): conzic,
    ("decoder", "mbr"): mbr,
    ("decoder", "zerocap"): zerocap,
}

# components that work with their defaults; add new components here or above
PLAIN = {
    "encoder": ("precomputed", "scenes-clip"),
    "lm": ("scenes-gpt2",),
    "dataset": ("scenes",),
    "bridge": ("close", "memory", "noise", "none", "shift"),
    "mapper": ("begin", "linear", "mlp", "transformer"),
    "tuning": (
        "adapter",
        "bitfit",
        "cross-attention",
        "deep-prefix",
        "frozen",
        "full",
        "ia3",
        "layernorm",
        "lora",
        "prompt",
    ),
    "retriever": ("exact", "faiss"),
    "prompt": ("entities", "none", "retrieved"),
    "launcher": ("local",),
    "metric": (
        "bleu",
        "cider",
        "clipscore",
        "distinct",
        "diversity",
        "finish",
        "length",
        "logprob",
        "meteor",
        "oracle",
        "repetition",
        "rouge",
        "spice",
    ),
    "decoder": (
        "beam",
        "best-of",
        "clipcap-beam",
        "clipcap-generate2",
        "constrained",
        "contrastive",
        "contrastive-decoding",
        "diverse-beam",
        "dola",
        "epsilon",
        "eta",
        "greedy",
        "guidance",
        "hf-generate",
        "magic",
        "min-p",
        "mirostat",
        "sample",
        "speculative",
        "stochastic-beam",
        "top-h",
        "top-k",
        "top-p",
        "typical",
    ),
}

CASES: Mapping[tuple[str, str], Make] = {
    **{(kind, name): plain for kind, names in PLAIN.items() for name in names},
    **SPECIAL,
}


def make_case(registry: Registry, kind: str, name: str, folder: Path) -> Case:
    """Return the case of a built-in component."""
    import attrs

    case = CASES[kind, name](registry.config_class(kind, name), folder)
    return attrs.evolve(case, registry=registry)
