"""transformers' own `generate`, as a baseline."""
