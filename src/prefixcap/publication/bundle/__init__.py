"""Bundles: what a paper needs of a study, in one folder or archive, and how it is verified."""
