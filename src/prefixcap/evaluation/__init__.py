"""Scores of predicted captions, the files they are read from, and statistics."""
