"""The rules of the conformance kit, one module per kind.

To add a rule, decorate a function with `@rule("name")`; nothing else registers it.
A rule of several kinds is imported under its own name (`digest as digest`).
"""
