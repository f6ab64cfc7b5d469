"""Training of the weights in `weights/`; not part of the wheel."""
