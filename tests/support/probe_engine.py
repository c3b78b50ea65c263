"""`python -m tests.support.probe_engine NAME CHANNEL_FD PARENT_PID`: the engine of a probe worker."""

from tests.support.probes import run_engine

run_engine()
