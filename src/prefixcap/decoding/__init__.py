"""Decoding prefixes: `decode`, and base classes of decoders."""
