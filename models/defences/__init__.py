"""Defences that change the image before it is classified; offline, for evaluation."""
