"""The images of a study, encoded by each of its encoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.dataset import Example
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.text_encoder import TextEncoder
from prefixcap.plugin import specs
from prefixcap.study.analysis.results import Results
from prefixcap.study.artifacts import features as features_module
from prefixcap.study.artifacts import keys
from prefixcap.study.definition.study import Study
from prefixcap.study.execution import checks, data, work
from prefixcap.study.execution.estimate import note
from prefixcap.util.progress import Reporter

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen(kw_only=True)
class Images:
    """The images of a study as one encoder sees them.

    Attributes:
        config: the encoder's config.
        digest: the encoder's digest.
        training: what mappers are trained on.
        test: (B,D) or (B,N,D) of the test images.
        test_key: a digest of these.
        text_encoder: the texts' side of the encoder.
    """

    config: EncoderConfig
    digest: str
    training: data.TrainingData
    test: Tensor
    test_key: str
    text_encoder: TextEncoder


class Encoding:
    """Encodes a study's images.

    Args:
        study: the study.
        folder: where it is kept.
        device: where the encoders run.
        loaded: the study's data.
        results: gets the test images, what was left out, and warnings.
        reporter: who is told.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        device: str,
        loaded: data.Data,
        results: Results,
        reporter: Reporter,
    ) -> None:
        self._study, self._folder, self._device = study, folder, device
        self._data, self._results, self._reporter = loaded, results, reporter

    def images(self, config: EncoderConfig) -> Images:
        """Encodes what is missing of all images.

        Raises:
            PrefixcapError: the encoders so far could read others of the test images.
        """
        encoder = config.build(self._device)
        features = features_module.Features.of_study(
            self._study, self._folder, config, encoder, self._data.dataset, self._reporter
        )
        features.took = lambda images, seconds: note(
            self._folder, work.encoding(self._study, config, images), seconds
        )
        training, lost = data.training_data(features, self._data)
        test = self._data.test
        kept, found, missing = data.drop_failed(test, features.of(self._data.splits[2], test))
        self._left_out([*lost, *(example.image.id for example in missing)])
        self._results.work["encoded_images"] += features.encoded
        self._same_test(kept)
        if same := checks.in_training(training.examples, kept, training.features, found):
            self._results.warn(checks.sentence(same, self._data.splits[2]), self._reporter)
        return Images(
            config=config,
            digest=encoder.digest(),
            training=training,
            test=found,
            test_key=keys.test_key(features, kept),
            text_encoder=TextEncoder(specs.to_spec(config), lambda: encoder, self._device),
        )

    def _left_out(self, ids: list[str]) -> None:
        new = [image for image in ids if image not in self._results.skipped]
        if new:
            self._results.skipped += new
            shown = ", ".join(new[:5])
            self._reporter.message(f"left out {len(new)} images that could not be read: {shown}")

    def _same_test(self, test: list[Example]) -> None:
        before = [example.image.id for example in self._results.test]
        if before and before != [example.image.id for example in test]:
            raise PrefixcapError(
                "the encoders cannot read the same images, so their cells cannot be compared"
            )
        self._results.test = test
        if not before:
            self._results.write_test()
