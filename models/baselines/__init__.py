"""The published methods that prompt learning is compared with; offline, for evaluation."""
