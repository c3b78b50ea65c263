"""A mode of torch that records what makes the host wait for a device; on `meta`, where nothing is computed."""

from collections.abc import Mapping, Sequence

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

_WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal")


class HostCopies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that copy between host and device, or read a number of it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        devices = {each.device.type for each in (*args, result) if isinstance(each, torch.Tensor)}
        name = func._schema.name
        if name in _WAITS or (name in ("aten::_to_copy", "aten::copy_") and len(devices) > 1):
            self.found.append(name)
        return result
