"""The engine: one process that keeps the model on its device and computes jobs."""
