"""Deliberately wrong components: each breaks one rule, to show that the rule can fail."""
