"""Tools without knowledge of captioning: files, devices, progress, versions, counting."""
