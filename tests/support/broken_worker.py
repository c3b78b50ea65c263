"""`python -m tests.support.broken_worker`: `certrad worker engine` with an engine whose device is faulty."""

import sys

from certrad.workers.cli.main import main
from certrad.workers.engine.worker import EngineWorker

EngineWorker.engine_module = "tests.support.broken_engine"
sys.exit(main(["worker", "engine"]))
