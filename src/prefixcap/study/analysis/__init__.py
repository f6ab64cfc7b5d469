"""Read a study's results. Types are nouns (`analysis.py`), what computes them verbs (`analyze.py`)."""
