"""A device of made-up speed and memory: it performs every action, and says what it took."""

from itertools import cycle

import torch

from certrad.models.backbones.probe import Action


class MadeUpDevice:
    """A probe of a device (`certrad.models.backbones.probe.Probe`)."""

    def __init__(self, *, ratio: float = 1.0, bytes_per_sample: int = 1000, free: int = 10**9) -> None:
        """Makes it up.

        Args:
            ratio: Seconds of the first of two actions by those of the second.
            bytes_per_sample: Memory that a sample takes.
            free: Memory that is free.
        """
        self.times = cycle((ratio, 1.0))
        self.bytes_per_sample = bytes_per_sample
        self.free = free

    def seconds(self, action: Action, /) -> float:
        """Performs an action and returns the seconds that are made up for it."""
        action()
        return next(self.times)

    def peak_bytes(self, action: Action, /) -> int:
        """Performs a pass of an encoder and returns what its samples take."""
        features = action()
        assert isinstance(features, torch.Tensor)
        return len(features) * self.bytes_per_sample

    def free_bytes(self) -> int:
        """Returns the memory that is made up."""
        return self.free
