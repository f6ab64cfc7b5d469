"""Studies: a grid of captioners whose results are cached in one folder."""
