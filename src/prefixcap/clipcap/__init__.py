"""Captioners that ClipCap's own code trained."""
