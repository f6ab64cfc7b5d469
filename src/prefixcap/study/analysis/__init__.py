"""Read a study's results. `analysis.py` has the types that `analyze.py` computes, and so on."""
