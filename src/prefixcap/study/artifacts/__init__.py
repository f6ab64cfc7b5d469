"""A study's folder: keys, features, models, captions, scores and replicates."""
