"""Attacks inside certified radii, and the contradictions they find."""
