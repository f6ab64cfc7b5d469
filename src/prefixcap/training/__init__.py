"""Training: fit a mapper whose prefixes the language model continues as captions."""
