"""What a prefix may hold beside embeddings: keys and values per layer, and features."""
