"""Attacks on image features and on smoothed classifiers, for evaluation and for tuning."""
