"""Computes a certificate again from its document, the image and the weights."""
