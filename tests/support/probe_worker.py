"""`python -m tests.support.probe_worker`: a probe worker."""

from tests.support.probes import run_worker

run_worker()
