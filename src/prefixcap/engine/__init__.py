"""The decoding engine: language models, and sessions that run their rows fast.

`causal_lm` wraps a model of transformers and picks a session: `tree_session` over a network from
`architectures` (layers written out here) or `transformers_network` (the model's own code), else
`cache_session`, which works with any model that transformers can cache.
"""
