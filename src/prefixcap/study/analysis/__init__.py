"""A study read back: its tables, the comparisons of its rows, and what they are based on."""
