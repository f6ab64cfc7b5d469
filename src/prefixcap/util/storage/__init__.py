"""How files are kept: temporary ones, and tensors that show whether they were altered."""
