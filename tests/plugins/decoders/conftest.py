from __future__ import annotations

import pytest
import torch
from decoder_models import small_model

from prefixcap.engine.causal_lm import CausalLM


@pytest.fixture(scope="session", params=["gpt2", "llama"])
def lm(request: pytest.FixtureRequest) -> CausalLM:
    torch.set_num_threads(1)
    return CausalLM(small_model(request.param))
