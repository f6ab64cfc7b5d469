"""Imports of libraries: made possible, or only when needed."""
