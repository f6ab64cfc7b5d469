"""The plugin host: hooks, loading, the registry, and configs as text and JSON."""
