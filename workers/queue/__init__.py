"""What the project adds to RQ: workers, maintenance, stopping, failures."""
