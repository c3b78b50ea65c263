"""Runs the experiments."""
