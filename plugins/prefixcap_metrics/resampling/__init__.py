"""Corpus metrics whose scores can be recomputed on resampled images."""
