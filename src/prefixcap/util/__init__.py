"""General tools: files, devices, progress, versions, counting."""
