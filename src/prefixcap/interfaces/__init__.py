"""The contracts that plugins implement: one module per kind of component.

Shapes in docstrings, here and everywhere: B images, N feature tokens, D feature width, P prefix
length, E embedding width, R live rows, T tokens, V vocabulary.
"""
