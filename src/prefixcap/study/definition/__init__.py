"""The schema of a study, and its conversion from and to text, TOML and JSON."""
