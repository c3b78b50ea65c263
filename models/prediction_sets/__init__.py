"""Robust prediction sets from vote counts: lists of classes that miss the correct one at most as often as promised."""
