"""Benchmarks, training of the demonstration model, and the reproduction harness; nothing imports it."""
