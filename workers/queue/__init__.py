"""The project's additions to RQ: workers, maintenance, stopping, failures."""
