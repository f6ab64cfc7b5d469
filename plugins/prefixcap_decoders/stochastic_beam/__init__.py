"""Stochastic beam search."""
