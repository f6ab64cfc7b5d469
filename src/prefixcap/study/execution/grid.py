"""From a study to the models and cells that it plans: used to run, to plan and to prune."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.language_model import LanguageModel, LMConfig
from prefixcap.plugin import specs
from prefixcap.study.artifacts import keys
from prefixcap.study.artifacts.folder import StudyJob
from prefixcap.study.artifacts.keys import InputDigests, PlannedCell, PlannedModel
from prefixcap.study.execution.checks import free_positions
from prefixcap.study.execution.encoding import EncodedImages
from prefixcap.study.execution.matching import Matched, matched


@attrs.frozen(kw_only=True)
class ModelGroup:
    """The planned models of one encoder and one language model, in the order of the grid.

    Attributes:
        warnings: What makes their comparison unfair.
    """

    images: EncodedImages
    lm: LMConfig
    models: Sequence[PlannedModel]
    warnings: Sequence[str] = ()

    @property
    def cells(self) -> list[PlannedCell]:
        """The cells, in the order of the grid."""
        return [cell for model in self.models for cell in model.cells]


def resolve(
    job: StudyJob,
    images: Sequence[EncodedImages],
    *,
    build_lm: Callable[[LMConfig], LanguageModel] | None = None,
    decoded_on: str | None = None,
) -> list[ModelGroup]:
    """Plan all models and cells of a study.

    `build_lm` builds or reuses a language model, whose digest is part of the keys; `decoded_on` is
    the device of the captions, if it is not the job's.
    """
    groups: dict[tuple[int, int], ModelGroup] = {}
    for column, lm in enumerate(job.study.lms):  # each language model is loaded once
        built = build_lm(lm) if build_lm else lm.build(job.device, job.study.dtype)
        lm_digest = keys.lm_key(built)
        for row, each in enumerate(images):
            inputs = InputDigests(
                training=each.training_key,
                test=each.test_key,
                references=keys.references_key(each.test),
                lm=lm_digest,
            )
            plain, number = job.study.models(each.encoder, lm), job.study.matched_parameters
            sized = Matched(models=plain)
            if number is not None:
                sized = matched(plain, number, built, each, free_positions(job.study, built))
            models = keys.planned_models(
                job, each.encoder, lm, inputs, models=sized.models, decoded_on=decoded_on
            )
            groups[row, column] = ModelGroup(
                images=each, lm=lm, models=models, warnings=sized.warnings
            )
    planned = [groups[place] for place in sorted(groups)]
    _check_distinct(planned)
    return planned


def _check_distinct(groups: Sequence[ModelGroup]) -> None:
    """Raise if two models are the same: their parts differ only in where their weights are."""
    known: dict[str, PlannedModel] = {}
    for planned in (planned for group in groups for planned in group.models):
        other = known.setdefault(planned.key, planned).model
        for kind in ("encoder", "lm"):
            one, two = getattr(other, kind), getattr(planned.model, kind)
            if one != two:
                raise PrefixcapError(
                    f"--{kind} {specs.to_spec(one)} and {specs.to_spec(two)} have the same "
                    "weights: give one of them"
                )
