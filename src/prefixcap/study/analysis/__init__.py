"""Read the results of studies.

A module named by a noun has the types that its verb computes: `analyze` gives an `Analysis`,
`compare` a `Comparison`.
"""
