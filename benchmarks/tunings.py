"""What tunings cost: decoding and training steps compared with the frozen model, in one process.

    python benchmarks/tunings.py                        # SmolLM2-135M's shape; minutes on two cores
    python benchmarks/tunings.py --shape tiny --images 4 --repeats 1      # to try the script

The model has random weights, and what a tuning trains has been changed. Each row has the captions
per second of greedy search and of beam 5 without a stop token, as a multiple of the frozen model's,
and the seconds of a training step (40 captions of 8 images, 13 tokens each, P=10, a small mapper)
as a multiple of the frozen model's. Both sides take turns, and the best of `--repeats` counts, of
CPU time with `--cpu`, as on a busy machine. The row `lora as it is` decodes without folding, and
the row `lora of PEFT` trains with PEFT's own layers.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from measuring import processor
from torch import Tensor

import prefixcap
from prefixcap.captioning.folding import Folding
from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.captioning.tuned import tuned
from prefixcap.engine.causal_lm import CausalLM
from prefixcap.interfaces.language_model import LanguageModel
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training.batches import CaptionBatch, TokenizedCaption
from prefixcap.training.config import TrainingConfig
from prefixcap.training.trainer import Trainer, fused_activations
from prefixcap.util.runtime import tune_allocator

Clock = Callable[[], float]

SHAPES: Mapping[str, dict[str, Any]] = {
    "smollm2": {
        **{"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30},
        **{"num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152},
    },
    "tiny": {
        **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 500},
    },
}
TUNINGS = ("lora", "lora:dropout=0", "ia3", "adapter", "layernorm", "full")
UNFOLDED, OF_PEFT = "lora as it is", "lora of PEFT"
DECODERS = ("greedy", "beam:num_beams=5")
LENGTH, TOKENS, FEATURE, CAPTIONS = 10, 13, 512, 40


def make_lm(shape: str, layers: int | None) -> LanguageModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = SHAPES[shape] | ({} if layers is None else {"num_hidden_layers": layers})
    return CausalLM(LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **sizes)))


def mapper_shape(lm: LanguageModel) -> MapperShape:
    return MapperShape(
        feature_width=FEATURE, feature_tokens=None, prefix_length=LENGTH, embedding_width=lm.width
    )


def tuned_lm(frozen: LanguageModel, name: str) -> tuple[LanguageModel, TuningConfig]:
    """Return a tuned copy whose trained parameters have been changed, and its tuning."""
    spec = "lora" if name in (UNFOLDED, OF_PEFT) else name
    config = default_registry().parse(TuningConfig, spec)
    torch.manual_seed(1)
    lm = tuned(frozen, config, mapper_shape(frozen))
    if name == OF_PEFT:
        use_layers_of_peft(lm.module)
    with torch.no_grad():
        for parameter in lm.module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01 * torch.randn_like(parameter))
    return lm, config


def use_layers_of_peft(module: Any) -> None:
    from peft.tuners import lora
    from prefixcap_tunings.peft_layers import FastLora

    layers: list[Any] = [part for part in module.modules() if isinstance(part, FastLora)]
    for layer in layers:
        layer.__class__ = lora.Linear


def stepper(lm: LanguageModel) -> Callable[[], object]:
    """Return a function that takes a training step."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(0, lm.vocab_size, (CAPTIONS, TOKENS), generator=generator).tolist()
    batch = CaptionBatch.of([TokenizedCaption(n // 5, tuple(row)) for n, row in enumerate(ids)])
    features = torch.randn(CAPTIONS // 5, FEATURE, generator=generator)
    shape = mapper_shape(lm)
    mapper = default_registry().parse(MapperConfig, "mlp:hidden=64").build(shape)
    prefixer = Prefixer(FeatureNorm(torch.zeros(FEATURE)), mapper, shape)
    trains = any(parameter.requires_grad for parameter in lm.module.parameters())
    trainer = Trainer(lm, prefixer, TrainingConfig(), 1000)

    def step() -> None:
        lm.module.train(trains)
        trainer.step(features[batch.rows], batch)
        lm.module.eval()

    return step


def alternating(
    one: Callable[[], object], two: Callable[[], object], repeats: int, clock: Clock
) -> tuple[float, float]:
    """Return the shortest time of each, of several alternating calls after a first one."""
    one()
    two()
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        for side, call in enumerate((one, two)):
            begin = clock()
            call()
            best[side] = min(best[side], clock() - begin)
    return best[0], best[1]


def decoding(lm: LanguageModel, prefix: Tensor, decoder: str) -> Callable[[], object]:
    return lambda: prefixcap.decode(lm, prefix, decoder, stop_ids=(), max_new_tokens=15)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="smollm2")
    parser.add_argument("--layers", type=int, help="another number of layers")
    parser.add_argument("--tunings", nargs="+", default=[*TUNINGS, UNFOLDED, OF_PEFT])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="compare CPU time")
    parser.add_argument("--no-training", action="store_true", help="compare decoding only")
    args = parser.parse_args()
    clock: Clock = time.process_time if args.cpu else time.perf_counter
    tune_allocator()
    torch.manual_seed(3)
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    frozen = make_lm(args.shape, args.layers)
    frozen.module.requires_grad_(False)
    prefix = 0.02 * torch.randn(args.images, LENGTH, frozen.width)
    training = copy.deepcopy(frozen)
    step = None if args.no_training else stepper(training)
    print(f"{'tuning':16} {'trained':>12} {'greedy':>8} {'beam 5':>8} {'step':>8}  s frozen, tuned")
    for name in args.tunings:
        lm, config = tuned_lm(frozen, name)
        count = sum(p.numel() for p in lm.module.parameters() if p.requires_grad)
        columns = []
        decoded = lm if name == UNFOLDED else Folding().folded(lm, config)
        for decoder in DECODERS if name != OF_PEFT else ():
            plain, ours = (decoding(each, prefix, decoder) for each in (frozen, decoded))
            one, two = alternating(plain, ours, args.repeats, clock)
            columns.append(f"{one / two:8.3f}")
        columns += [" " * 8] * (2 - len(columns))
        if step is not None and name != UNFOLDED:
            with fused_activations(lm.module):
                one, two = alternating(step, stepper(lm), args.repeats, clock)
            columns.append(f"{two / one:8.3f}  {one:.3f} {two:.3f}")
        print(f"{name:16} {count:12,} {' '.join(columns)}", flush=True)


if __name__ == "__main__":
    main()
