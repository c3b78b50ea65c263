"""The commands that compute, one module per command."""
