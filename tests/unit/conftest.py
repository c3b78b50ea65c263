"""One thread for the arithmetic of tiny models: threads that wait for each other cost ten times the work itself."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
