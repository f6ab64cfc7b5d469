"""Studies: a grid of captioners, each part of the work done once and kept."""
