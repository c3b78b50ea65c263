"""Adapters of image towers: they make the features of noisy pixels like those of clean ones."""
