"""A study's work in pieces, for launchers."""
