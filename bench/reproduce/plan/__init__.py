"""The experiments of both papers."""
