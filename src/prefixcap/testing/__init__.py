"""The conformance kit: checks for components, and a language model with known probabilities."""
