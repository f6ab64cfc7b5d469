"""Reranking of samples: best of n, minimum Bayes risk."""
