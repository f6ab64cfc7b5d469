"""Launchers, which do pieces of a study's work in other processes."""
