"""Beam search and diverse beam search."""
