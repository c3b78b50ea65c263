"""Certified accuracy and attack results over a data set."""
