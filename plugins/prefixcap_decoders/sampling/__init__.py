"""Sampling, with and without truncation."""
