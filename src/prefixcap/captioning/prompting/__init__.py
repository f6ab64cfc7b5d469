"""Text around prefixes: its tokens, and the prompts of a model in training."""
