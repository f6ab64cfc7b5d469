"""Results for others: a study in one file, and results that papers published."""
