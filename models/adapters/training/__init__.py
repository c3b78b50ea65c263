"""Training of adapters on unlabelled images, and what they gain."""
