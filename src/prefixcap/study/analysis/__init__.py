"""Reading a study's results: tables, and comparisons of rows."""
