"""Decoders that are guided by CLIP at every step: MAGIC, ZeroCap, ConZIC."""
