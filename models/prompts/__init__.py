"""Prompts: context vectors, their checkpoints, their training and their adaptation to one image."""
