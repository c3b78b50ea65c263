"""The work of the commands of `certrad.workers.cli` after their arguments are checked; these modules import torch."""
