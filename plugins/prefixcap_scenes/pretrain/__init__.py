"""Makes the weights that ship with the drawn world: `python -m prefixcap_scenes.pretrain`."""
