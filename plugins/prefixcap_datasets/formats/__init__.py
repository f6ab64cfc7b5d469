"""Strict readers of single files: JSON entries, tables, tar shards and pickled tensors."""
