"""Train the small CLIP and GPT-2 whose weights `prefixcap_scenes` ships."""
