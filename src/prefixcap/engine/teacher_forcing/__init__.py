"""Teacher forcing on several captions of an image at once."""
