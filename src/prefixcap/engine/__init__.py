"""The decoding engine: language models and their sessions."""
