"""The start `ridge`: a mapper's last linear layer, fitted in closed form to caption embeddings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from prefixcap.errors import PrefixcapError

if TYPE_CHECKING:
    from prefixcap.captioning.feature_rows import AnyFeatures
    from prefixcap.captioning.prefixer import Prefixer
    from prefixcap.interfaces.language_model import LanguageModel

MOST_IMAGES = 10_000
MOST_VALUES = 2**27
"""At most so many images, and so many values of their prefixes, are fitted: seconds, 512 MB."""
_BATCH = 256
_PENALTIES = 10.0 ** torch.arange(-6, 4.5, 0.5, dtype=torch.float64)


def start_with_ridge(
    lm: LanguageModel,
    prefixer: Prefixer,
    features: AnyFeatures,
    captions: Sequence[Sequence[Sequence[int]]],
) -> None:
    """Fit the mapper's last linear layer, so that prefixes predict the captions' embeddings.

    The other layers keep their random weights. Images are evenly spaced if there are too many.

    Args:
        lm: The language model, whose token embeddings are the target.
        prefixer: Its mapper's last linear layer is changed.
        features: (B,D) or (B,N,D).
        captions: The token ids of one or more captions for each image; without any, it is left out.

    Raises:
        PrefixcapError: If the prefixes do not end in a linear layer.
    """
    shape = prefixer.shape
    values = shape.prefix_length * shape.embedding_width
    known = torch.tensor([row for row, texts in enumerate(captions) if texts])
    most = max(2, min(MOST_IMAGES, MOST_VALUES // values))
    if len(known) > most:
        known = known[torch.linspace(0, len(known) - 1, most).long()]
    targets = mean_embeddings(lm, [captions[row] for row in known.tolist()], shape.prefix_length)
    training = prefixer.training
    prefixer.eval()
    with torch.no_grad():
        last, inputs, rest = _last_layer(prefixer, features, known)
        targets = (targets - rest).reshape(len(inputs), -1)
        weight, bias, _ = ridge(inputs, targets)
        last.weight.copy_(weight)
        last.bias.copy_(bias)
    prefixer.train(training)


def mean_embeddings(
    lm: LanguageModel, captions: Sequence[Sequence[Sequence[int]]], length: int
) -> Tensor:
    """Average the token embeddings of each image's captions in P parts: (B,P,E), float32, CPU.

    A caption of T tokens is divided into P parts of equal length, as `adaptive_avg_pool1d` does;
    for P=1 the result is the mean of its embeddings.
    """
    by_length: dict[int, list[tuple[int, Sequence[int]]]] = defaultdict(list)
    for row, texts in enumerate(captions):
        for ids in texts:
            by_length[len(ids)].append((row, ids))
    device = lm.device
    total = torch.zeros(len(captions), length, lm.width)
    for group in by_length.values():
        for start in range(0, len(group), _BATCH):
            rows, ids = zip(*group[start : start + _BATCH], strict=True)
            with torch.no_grad():
                embedded = lm.embed(torch.tensor(ids, device=device)).float().transpose(1, 2)
            pooled = nn.functional.adaptive_avg_pool1d(embedded, length).transpose(1, 2)
            total.index_add_(0, torch.tensor(rows), pooled.cpu())
    counts = torch.tensor([len(texts) for texts in captions])
    return total / counts[:, None, None]


def ridge(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
    """Solve a ridge regression with an intercept, and choose its penalty.

    The penalty minimizes the generalized cross-validation score, which approximates the error when
    each row in turn is left out (Golub, Heath and Wahba 1979).

    Args:
        inputs: (R,H).
        targets: (R,O).

    Returns:
        The weights (O,H), the intercepts (O) and the penalty, as a factor of the squared weights
        beside the squared errors summed over rows.
    """
    count = len(inputs)
    mean, center = inputs.double().mean(0), targets.mean(0)
    x, y = inputs.double() - mean, targets - center
    # of the smaller of the two matrices of inner products
    if count > x.shape[1]:
        squares, right = torch.linalg.eigh(x.T @ x)
        keep = squares > squares[-1] * 1e-12
        squares, right = squares[keep], right[:, keep]
        left = x @ right / squares.sqrt()
    else:
        squares, left = torch.linalg.eigh(x @ x.T)
        keep = squares > squares[-1] * 1e-12
        squares, left = squares[keep], left[:, keep]
        right = x.T @ left / squares.sqrt()
    projected = (left.float().T @ y).double()  # (rank, R) @ (R, O)
    if not len(squares):
        return targets.new_zeros(targets.shape[1], inputs.shape[1]), center, 0.0
    explained = projected.square().sum(1)
    # nothing is unexplained by as many directions as rows
    rest = 0.0 if len(squares) >= count - 1 else y.double().square().sum() - explained.sum()
    penalties = _PENALTIES * squares.mean()
    kept = squares / (squares + penalties[:, None])  # (penalties, rank)
    errors = rest + (1 - kept).square() @ explained
    scores = errors / (count - 1 - kept.sum(1)).square()
    penalty = penalties[scores.nan_to_num(torch.inf).argmin()]
    shrunk = (squares.sqrt() / (squares + penalty))[:, None] * projected
    weight = (right @ shrunk).T
    bias = center.double() - weight @ mean
    return weight.float(), bias.float(), penalty.item()


def _last_layer(
    prefixer: Prefixer, features: AnyFeatures, rows: Tensor
) -> tuple[nn.Linear, Tensor, Tensor]:
    """Find the linear layer that the prefixes end in.

    Returns:
        The layer, its inputs (R,H), and the part (B,P,E) of the prefixes that it does not make,
        such as a transformer's residual. R is B if it makes a prefix at once, otherwise B P.
    """
    shape = prefixer.shape
    linear = [m for m in prefixer.mapper.modules() if isinstance(m, nn.Linear)]
    if not linear or linear[-1].bias is None:
        raise _refusal(prefixer)
    last = linear[-1]
    seen: list[tuple[Tensor, Tensor]] = []
    hook = last.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    inputs, rest = [], []
    device = last.weight.device
    try:
        for part in torch.split(rows, _BATCH):
            prefix = prefixer.mapper(prefixer.norm(features[part].to(device)))
            if len(seen) != 1:
                raise _refusal(prefixer)
            entered, made = seen.pop()
            made = made.reshape(len(prefix), -1, shape.embedding_width)[:, -shape.prefix_length :]
            rest.append((prefix - made).cpu())
            entered = entered if entered.ndim == 2 else entered[:, -shape.prefix_length :]
            inputs.append(entered.flatten(0, -2).cpu())
        _check_end(prefixer, last, features[rows[:8]].to(device), rest[0])
    finally:
        hook.remove()
    return last, torch.cat(inputs), torch.cat(rest)


def _check_end(prefixer: Prefixer, last: nn.Linear, features: Tensor, rest: Tensor) -> None:
    """Check that without the layer's output the prefixes (B,P,E) are the rest of them."""
    weights = [parameter.clone() for parameter in last.parameters()]
    for parameter in last.parameters():
        parameter.zero_()
    without = prefixer.mapper(prefixer.norm(features)).cpu()
    for parameter, weight in zip(last.parameters(), weights, strict=True):
        parameter.copy_(weight)
    if not torch.allclose(without, rest[: len(without)], rtol=1e-3, atol=1e-4):
        raise _refusal(prefixer)


def _refusal(prefixer: Prefixer) -> PrefixcapError:
    return PrefixcapError(
        f"the training's start=ridge fits a mapper's last linear layer, but "
        f"{type(prefixer.mapper).__name__} does not end in one: set start=random"
    )
