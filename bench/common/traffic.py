"""Counts the kernels that torch operations launch, and the bytes that these read and write."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an action launches.

    Attributes:
        kernels: Operations that compute; views are none.
        bytes: What these read and write: the elements of their tensors, each once, as if no cache kept any.
    """

    kernels: int
    bytes: int


def count_traffic(action: Callable[[], object]) -> Traffic:
    """Returns what an action launches. On the device `meta` nothing is computed, and everything is counted.

    Args:
        action: Runs torch operations.
    """
    counter = _Counter()
    context: AbstractContextManager[object] = counter
    with context:
        action()
    return Traffic(kernels=counter.kernels, bytes=counter.bytes)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts each operation as one kernel, which a compiler that fuses would not."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels = 0
        self.bytes = 0

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if not _computes(func):
            return result
        self.kernels += 1
        written = {id(tensor): tensor for tensor in _tensors(result)}
        read = [tensor for tensor in _tensors([*args, *(kwargs or {}).values()]) if id(tensor) not in written]
        in_place = [tensor for tensor in _tensors(list(args)) if id(tensor) in written]
        self.bytes += sum(_stored_bytes(tensor) for tensor in (*written.values(), *read, *in_place))
        return result


def _computes(func: OpOverload) -> bool:
    """Returns whether an operation is more than a view of its argument or an allocation."""
    returned = func._schema.returns
    aliases = [each.alias_info for each in returned]
    is_view = any(alias is not None and not alias.is_write for alias in aliases)
    return not is_view and not func._schema.name.startswith(("aten::empty", "aten::_unsafe_view", "aten::detach"))


def _tensors(values: object) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _stored_bytes(tensor: torch.Tensor) -> int:
    """Returns the bytes of the elements of a tensor that lie in memory: a dimension that is broadcast has one."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return torch.Size([size for size, stride in sizes if stride]).numel() * tensor.itemsize
