"""Sessions that do more than `Session`: ranking tokens, and checking logits."""
