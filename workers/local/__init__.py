"""The whole service on one machine: its Redis, its processes, their supervision."""
