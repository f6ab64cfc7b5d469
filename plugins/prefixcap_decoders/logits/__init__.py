"""Logits processors, and words that captions must or must not contain."""
