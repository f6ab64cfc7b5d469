"""`ValCaptions`: captions of val images by the model as it is during its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from prefixcap.decoding.decode import collect
from prefixcap.errors import DivergedError, NonFiniteError
from prefixcap.training.checkpoint import random_state, set_random_state

if TYPE_CHECKING:
    from prefixcap.captioning.captioner import Captioner
    from prefixcap.captioning.feature_rows import AnyFeatures
    from prefixcap.interfaces.decoder import Hypothesis
    from prefixcap.training.config import TrainingConfig

NEW_TOKENS = 40
"""The maximum number of tokens of a caption, as by default when a trained model captions."""


@attrs.frozen(kw_only=True)
class ValCaptions:
    """The val images that a training captions after each epoch, by greedy search.

    Attributes:
        captioner: The model in training, in evaluation mode.
        features: (B,D) or (B,N,D), of the val images.
        ids: Their B names.
    """

    captioner: Captioner
    features: AnyFeatures
    ids: Sequence[str]
    config: TrainingConfig

    def samples(self) -> dict[str, str]:
        """Caption the first images, as many as `sample_images` says; return captions by image.

        Raises:
            DivergedError: If the model's numbers are not finite.
        """
        captions = self._caption(self.config.sample_images)
        return {image: each.text for image, each in zip(self.ids, captions, strict=False)}

    def _caption(self, images: int) -> list[Hypothesis]:
        """Caption the first images; the random states are left as they are."""
        captioner, features = self.captioner, self.features[:images]
        lm, length = captioner.lm, captioner.prefixer.shape.prefix_length
        tokens = min(NEW_TOKENS, self.config.max_tokens)
        if lm.max_positions is not None:
            tokens = min(tokens, lm.max_positions - length)
        state = random_state(captioner.device)
        try:
            captions = captioner.iter_caption(
                features, "greedy", max_new_tokens=tokens, image_ids=self.ids[:images]
            )
            return [hypotheses[0] for hypotheses in collect(captions, len(features))]
        except NonFiniteError as error:
            raise DivergedError(f"{error.found} are not finite for val images") from error
        finally:
            set_random_state(state, captioner.device)
