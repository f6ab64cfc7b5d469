"""Beam search with words that must appear."""
