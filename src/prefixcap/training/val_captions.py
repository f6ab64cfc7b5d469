"""`ValCaptions`: captions of val images, and their score, by the model during its training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prefixcap.decoding.decode import collect
from prefixcap.errors import DivergedError, NonFiniteError, PrefixcapError, nearest
from prefixcap.evaluation.evaluate import caption_fields, evaluate
from prefixcap.interfaces.metric import MetricConfig, Record, scale_of
from prefixcap.plugin.registry import default_registry
from prefixcap.training.checkpoint import random_state, set_random_state
from prefixcap.training.config import VAL_LOSS

if TYPE_CHECKING:
    from prefixcap.captioning.captioner import Captioner
    from prefixcap.captioning.feature_rows import AnyFeatures
    from prefixcap.interfaces.decoder import Hypothesis
    from prefixcap.training.config import TrainingConfig

NEW_TOKENS = 40
"""The maximum number of tokens of a caption, as by default when a trained model captions."""
_UNKNOWN = {
    "image": "looks at images, and training has only their features",
    "several": "compares several captions of an image, and greedy search gives one",
}
"""Why metrics that require this cannot select an epoch."""


def keep_metric(keep_by: str) -> MetricConfig | None:
    """Return the metric that a training's `keep_by` names, itself or by a score; None for the loss.

    Raises:
        PrefixcapError: If there is none, or it cannot score captions during a training.
    """
    if keep_by == VAL_LOSS:
        return None
    registry = default_registry()
    names = registry.names("metric")
    if keep_by.partition(":")[0] in names:
        config = registry.parse(MetricConfig, keep_by)
    else:
        owners = {
            score: name
            for name in names
            for score in getattr(registry.config_class("metric", name), "scales", {})
            if "*" not in score
        }
        if keep_by not in owners:
            known = [VAL_LOSS, *names, *owners]
            raise PrefixcapError(
                f"keep_by: there is no score or metric {keep_by!r}{nearest(keep_by, known)}"
            )
        config = registry.parse(MetricConfig, owners[keep_by])
    for need in sorted(config.requires & _UNKNOWN.keys()):
        raise PrefixcapError(f"keep_by: the metric {config.name!r} {_UNKNOWN[need]}")
    return config


class ValCaptions:
    """The val images that a training captions after each epoch, by greedy search.

    Args:
        captioner: The model in training, in evaluation mode.
        features: (B,D) or (B,N,D), of the val images.
        references: B lists of captions.
        ids: The images' B names; by default row numbers.
        config: Says how many images are shown and scored, and by which metric.

    Raises:
        PrefixcapError: If the metric cannot be built or has no such score for these images.
    """

    def __init__(
        self,
        captioner: Captioner,
        features: AnyFeatures,
        references: Sequence[Sequence[str]],
        ids: Sequence[str] | None,
        config: TrainingConfig,
    ) -> None:
        self._captioner, self._config = captioner, config
        self._metric = keep_metric(config.keep_by)
        scored = (config.val_images or len(features)) if self._metric is not None else 0
        self._images = min(len(features), max(scored, config.sample_images))
        self._features = features[: self._images]
        self._ids = [*(ids or map(str, range(len(features))))][: self._images]
        self._references = dict(enumerate(map(tuple, references[:scored])))
        if self._metric is not None:
            self._score, self._sign = self._find_score(self._metric)

    def caption(self) -> tuple[dict[str, str], dict[str, float] | None]:
        """Return the sample captions by image, and the scores of the images; None without a metric.

        Raises:
            DivergedError: If the model's numbers are not finite.
        """
        captions = self._caption() if self._images else []
        shown = self._config.sample_images
        pairs = zip(self._ids[:shown], captions[:shown], strict=True)
        samples = {image: caption.text for image, caption in pairs}
        if self._metric is None:
            return samples, None
        fields = {row: caption_fields([each.to_json()]) for row, each in enumerate(captions)}
        return samples, dict(evaluate(self._records(fields), [self._metric]).values)

    def costs(self, scores: Sequence[Mapping[str, float]]) -> list[float]:
        """Return a number for each epoch's scores, the lowest for the best.

        A score that is undefined is worse than any other.
        """
        return [-self._sign * each.get(self._score, -self._sign * math.inf) for each in scores]

    def _caption(self) -> list[Hypothesis]:
        """Caption the images; the random states are left as they are."""
        captioner = self._captioner
        lm, length = captioner.lm, captioner.prefix_length
        tokens = min(NEW_TOKENS, self._config.max_tokens)
        if lm.max_positions is not None:
            tokens = min(tokens, lm.max_positions - length)
        state = random_state(captioner.device)
        try:
            captions = captioner.iter_caption(
                self._features, "greedy", max_new_tokens=tokens, image_ids=self._ids
            )
            return [hypotheses[0] for hypotheses in collect(captions, self._images)]
        except NonFiniteError as error:
            raise DivergedError(f"{error.found} are not finite for val images") from error
        finally:
            set_random_state(state, captioner.device)

    def _records(self, fields: Mapping[int, Mapping[str, object]]) -> list[Record]:
        return [
            Record(image=self._ids[row], references=references, **fields[row])  # type: ignore[arg-type]
            for row, references in self._references.items()
            if references
        ]

    def _find_score(self, metric: MetricConfig) -> tuple[str, int]:
        """Score references as if they were captions; return the score's name and 1 if high is good.

        Of a metric's scores, it is the one that would be a table's main one.
        """
        fields = {
            row: {
                "prediction": texts[0],
                "captions": texts[:1],
                "logprobs": (-1.0,),
                "tokens": (1,),
                "finishes": ("stop",),
            }
            for row, texts in self._references.items()
            if texts
        }
        scores = evaluate(self._records(fields), [metric])
        scales = {name: scale_of([metric], name) for name in scores.values}
        ranks = {
            name: math.inf if scale.main_rank is None else scale.main_rank
            for name, scale in scales.items()
            if scale.better
        }
        wanted = self._config.keep_by
        name = wanted if wanted in scales else min(ranks, key=lambda each: ranks[each], default="")
        is_score = wanted.partition(":")[0] != metric.name
        if name not in ranks or (is_score and name != wanted):
            known = f"; it has {', '.join(ranks)}" if ranks else ""
            why = f"; {scores.undefined}" if scores.undefined else ""
            raise PrefixcapError(
                f"keep_by: the metric {metric.name!r} has no score {wanted!r} of which a higher or "
                f"lower value is better{known}{why}"
            )
        return name, scales[name].sign
