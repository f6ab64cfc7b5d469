"""`prefixcap data`: check, show and export data sets."""
