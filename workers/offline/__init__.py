"""What the commands of `certrad.workers.cli` do once their arguments are checked; these modules import torch."""
