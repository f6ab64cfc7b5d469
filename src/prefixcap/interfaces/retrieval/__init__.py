"""Retrieval: the nearest of many vectors, and text around a prefix that is made from them."""
