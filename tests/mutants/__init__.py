"""Deliberately wrong components: each breaks one named rule, and so proves that it can fail."""
