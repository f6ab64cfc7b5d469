"""The closed-form start against numpy's solutions and written-out formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from core.training.world import gpt2, trained, world
from torch import Tensor, nn

from prefixcap.captioning.prefixer import FeatureNorm, Prefixer
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.mapper import MapperConfig, MapperShape
from prefixcap.interfaces.tuning import TuningConfig
from prefixcap.plugin.registry import default_registry
from prefixcap.training.config import TrainingConfig
from prefixcap.training.initialization import build_prefixer, prefix_shape
from prefixcap.training.ridge import mean_embeddings, ridge, start_with_ridge


def with_intercept(inputs: Tensor) -> np.ndarray:
    return np.hstack([inputs.double().numpy(), np.ones((len(inputs), 1))])


def hat(design: np.ndarray, penalty: float) -> np.ndarray:
    """The matrix that makes predictions of targets; the intercept is not penalized."""
    shrink = np.diag([penalty] * (design.shape[1] - 1) + [0.0])
    return design @ np.linalg.solve(design.T @ design + shrink, design.T)


@pytest.mark.parametrize(("rows", "width"), [(60, 7), (9, 20)])
def test_the_solution_is_that_of_the_normal_equations(rows: int, width: int) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(rows, width) + 3
    targets = inputs @ torch.randn(width, 4) + torch.randn(rows, 4) * 2 + 5
    weight, bias, penalty = ridge(inputs, targets)
    design, y = with_intercept(inputs), targets.double().numpy()
    predicted = inputs @ weight.T + bias
    np.testing.assert_allclose(predicted, hat(design, penalty) @ y, rtol=1e-4, atol=1e-4)

    def score(candidate: float) -> float:
        matrix = hat(design, candidate)
        return float(((y - matrix @ y) ** 2).sum() / (rows - np.trace(matrix)) ** 2)

    nearby = [score(penalty * 10.0**step) for step in (-1, -0.5, 0, 0.5, 1)]
    assert min(nearby) == nearby[2]


def test_without_noise_it_is_least_squares() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(50, 5)
    targets = inputs @ torch.randn(5, 3) + 1
    weight, bias, _ = ridge(inputs, targets)
    solution, *_ = np.linalg.lstsq(with_intercept(inputs), targets.double().numpy(), rcond=None)
    np.testing.assert_allclose(weight.T, solution[:-1], atol=1e-4)
    np.testing.assert_allclose(bias, solution[-1], atol=1e-4)


def test_equal_inputs_predict_the_mean() -> None:
    targets = torch.randn(4, 3)
    weight, bias, _ = ridge(torch.ones(4, 2), targets)
    assert not weight.any()
    torch.testing.assert_close(bias, targets.mean(0))


def test_captions_are_averaged_in_equal_parts() -> None:
    lm = gpt2()
    table = lm.embed(torch.arange(lm.vocab_size)).detach()
    captions = [[[1, 2, 3, 4], [5, 6]], [[7]]]
    means = mean_embeddings(lm, captions, 2)
    torch.testing.assert_close(means[0, 0], ((table[1] + table[2]) / 2 + table[5]) / 2)
    torch.testing.assert_close(means[0, 1], ((table[3] + table[4]) / 2 + table[6]) / 2)
    torch.testing.assert_close(means[1], table[7].expand(2, -1))
    one = mean_embeddings(lm, captions, 1)
    torch.testing.assert_close(one[0, 0], (table[1:5].mean(0) + table[5:7].mean(0)) / 2)


def images(mapper: str) -> tuple[Tensor, list[list[list[int]]], Prefixer]:
    features, _ = world()
    captions = [[[i % 2, 3, 4], [5, i % 2]] if i else [] for i in range(len(features))]
    config = TrainingConfig(prefix_scale=None, start="ridge")
    torch.manual_seed(0)
    parsed = default_registry().parse(MapperConfig, mapper)
    return features, captions, fitted(parsed, features, config, captions)


def fitted(
    mapper: MapperConfig, features: Tensor, config: TrainingConfig, captions: list[list[list[int]]]
) -> Prefixer:
    tuning = default_registry().parse(TuningConfig, "frozen")
    shape = prefix_shape(gpt2(), mapper, tuning, 3, features)
    return build_prefixer(gpt2(), mapper, shape, features, config, captions)


@pytest.mark.parametrize("mapper", ["linear", "mlp:hidden=5", "linear:rank=2"])
def test_the_last_layer_is_the_ridge_solution(mapper: str) -> None:
    features, captions, prefixer = images(mapper)
    modules = list(prefixer.mapper.modules())
    first = next(m for m in modules if isinstance(m, nn.Linear))
    hidden = prefixer.norm(features)
    if mapper != "linear":
        hidden = first(hidden)
        hidden = hidden.tanh() if mapper.startswith("mlp") else hidden
    # the first image has no caption
    targets = mean_embeddings(gpt2(), captions[1:], 3).flatten(1)
    weight, bias, _ = ridge(hidden[1:].detach(), targets)
    expected = (hidden @ weight.T + bias).reshape(-1, 3, 16)
    torch.testing.assert_close(prefixer(features), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "mapper", ["transformer:num_layers=1", "qformer:width=16,heads=2", "llava:pool=true"]
)
def test_mappers_of_several_vectors_come_closer_to_the_captions(mapper: str) -> None:
    features, _ = world()
    tokens = torch.stack([features, features**2, features.sin()], 1)
    captions = [[[i % 2, 3, 4]] for i in range(len(features))]
    parsed, errors = default_registry().parse(MapperConfig, mapper), []
    targets = mean_embeddings(gpt2(), captions, 3)
    for start in ("random", "ridge"):
        torch.manual_seed(0)
        config = TrainingConfig(prefix_scale=None, start=start)
        prefixer = fitted(parsed, tokens, config, captions).eval()
        errors.append((prefixer(tokens) - targets).square().mean().item())
    assert errors[1] < errors[0] / 3
    assert errors[1] < targets.var().item()


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 16), nn.LayerNorm(16)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.norm(self.layer(features))[:, None]
        return result


def test_a_mapper_that_does_not_end_in_a_linear_layer() -> None:
    features, _ = world()
    shape = MapperShape(feature_width=6, feature_tokens=None, prefix_length=1, embedding_width=16)
    prefixer = Prefixer(FeatureNorm.fit(features), Normed(), shape)
    before = prefixer(features)
    with pytest.raises(PrefixcapError, match=r"but Normed does not end in one: set start=random"):
        start_with_ridge(gpt2(), prefixer, features, [[[1]]] * len(features))
    assert torch.equal(prefixer(features), before)


def test_a_training_starts_with_it_and_is_repeatable() -> None:
    one, two = (trained(tuning="frozen", start="ridge", epochs=1) for _ in range(2))
    assert one.history["loss"] == two.history["loss"]
    assert one.training is not None
    assert one.training["start"] == "ridge"
    assert one.history["loss"] != trained(tuning="frozen", epochs=1).history["loss"]


def test_without_an_epoch_the_model_is_the_start() -> None:
    model = trained(tuning="frozen", start="ridge", epochs=0, prefix_scale=None)
    assert model.history["loss"] == model.history["train_loss"] == []
    features, texts = world()
    first, _, last = model.prefixer.mapper.layers
    hidden = first(model.prefixer.norm(features)).tanh().detach()
    tokenizer = gpt2().tokenizer
    assert tokenizer is not None
    captions = [[tokenizer.encode(f"{text}.") for text in each] for each in texts]
    weight, bias, _ = ridge(hidden, mean_embeddings(gpt2(), captions, 3).flatten(1))
    torch.testing.assert_close(last.weight.detach(), weight, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(last.bias.detach(), bias, atol=1e-4, rtol=1e-3)
