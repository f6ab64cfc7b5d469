"""Training: fit a mapper whose prefixes a language model continues as captions."""
