"""Published results as targets: the command that corresponds, and whether own results agree."""
