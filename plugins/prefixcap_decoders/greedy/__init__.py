"""Greedy search."""
