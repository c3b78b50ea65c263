"""Benchmarks; each writes figures that the documentation quotes."""
