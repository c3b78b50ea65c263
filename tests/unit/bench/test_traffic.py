"""The counted kernels and bytes of torch operations."""

import torch

from certrad.bench.common.traffic import Traffic, count_traffic


def test_an_operation_reads_its_arguments_and_writes_its_result() -> None:
    a, b = torch.zeros(100), torch.zeros(100)
    assert count_traffic(lambda: a + b) == Traffic(kernels=1, bytes=3 * 400)


def test_an_operation_in_place_reads_and_writes_the_same_memory() -> None:
    a = torch.zeros(100, dtype=torch.float64)
    assert count_traffic(lambda: a.mul_(2)) == Traffic(kernels=1, bytes=2 * 800)


def test_views_and_allocations_launch_nothing() -> None:
    a = torch.zeros(10, 10)
    assert count_traffic(lambda: (a.t(), a[1:3], a.reshape(100), torch.empty(7))) == Traffic(kernels=0, bytes=0)


def test_what_is_broadcast_is_read_once() -> None:
    a, b = torch.zeros(10, 10), torch.zeros(1, 10).expand(10, 10)
    assert count_traffic(lambda: a + b).bytes == 400 + 40 + 400


def test_the_device_meta_is_counted_like_any_other() -> None:
    def action(device: str) -> object:
        return torch.arange(50, device=device).to(torch.float64).sin_()

    assert count_traffic(lambda: action("meta")) == count_traffic(lambda: action("cpu"))
    assert count_traffic(lambda: action("meta")) == Traffic(kernels=3, bytes=50 * (8 + 16 + 16))
