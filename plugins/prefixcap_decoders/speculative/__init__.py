"""Speculative decoding: a cheap draft proposes tokens, and the language model verifies them."""
