"""Machine-learning models: what computes. Knows no transport and no queue."""
