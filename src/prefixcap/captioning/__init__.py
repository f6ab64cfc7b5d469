"""From images to captions with a trained model: encoding, prefixes, saving and loading."""
