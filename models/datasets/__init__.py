"""Data sets of labelled images: cards, loaders of the published layouts and splits, and balanced samples of them."""
