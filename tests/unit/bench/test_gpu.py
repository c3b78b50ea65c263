"""`python -m certrad.bench gpu`: the counted traffic of the noise, and what is said where there is no GPU."""

import argparse
from collections.abc import Iterable

import pytest
import torch

from certrad.bench.common.machine import this_machine
from certrad.bench.common.noise_paths import CountedPath, count_paths
from certrad.bench.measure import gpu
from certrad.models.backbones.graphs import Graphs
from certrad.models.smoothing.fused_noise import InputForm

CPU = torch.device("cpu")


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    gpu.add_arguments(parser)
    return parser.parse_args(arguments)


def test_without_a_gpu_the_traffic_is_counted_and_nothing_is_measured() -> None:
    found = gpu.report(options("--backbone", "demo", "--device", "cpu", "--batch-size", "8"), this_machine())
    assert found.measured == "not run: no CUDA device"
    assert [path.path for path in found.counted] == [
        "torch operations",
        "fused kernel",
        "fused kernel, normalised inputs",
    ]


def test_the_fused_kernel_moves_the_image_and_the_input_and_the_eager_law_every_number_in_between() -> None:
    shape, form = (3, 32, 32), InputForm(dtype=torch.bfloat16, mean=(0.5,) * 3, std=(0.5,) * 3)
    eager, fused, normalised = count_paths(shape, 4, form)
    assert normalised.bytes_per_sample == 3072 * (8 + 2)
    assert normalised.kernels_per_sample == 1 / 4
    assert normalised.noise_bytes_per_sample == normalised.bytes_per_sample
    assert fused.noise_bytes_per_sample == 3072 * (8 + 4)
    # The normalisation: float32 read and written by two operations, and read by the cast; six numbers of the card.
    assert fused.bytes_per_sample == pytest.approx(3072 * (8 + 4) + 3072 * (5 * 4 + 2) + 2 * 3 * 4 / 4)
    assert eager.bytes_per_sample > 50 * normalised.bytes_per_sample
    assert eager.kernels_per_sample > 100 / 4


def test_a_path_is_timed_alone_and_before_the_encoder() -> None:
    counted = CountedPath(
        path="torch operations", kernels_per_sample=1.0, bytes_per_sample=300.0, noise_bytes_per_sample=100.0
    )
    drawn: list[int] = []
    encoded: list[torch.Tensor] = []

    def batches(starts: Iterable[int]) -> list[tuple[int, torch.Tensor]]:
        drawn.extend(starts)
        return [(start, torch.zeros(8)) for start in starts]

    def encode(inputs: torch.Tensor) -> torch.Tensor:
        encoded.append(inputs)
        return inputs

    found = gpu.measure_path(
        counted, batches, encode, starts=range(0, 16, 8), device=CPU, encoder_rate=100.0, bandwidth=1000.0
    )
    assert found.share_of_encoder == found.samples_per_second / 100
    assert found.share_of_roofline == pytest.approx(found.noise_samples_per_second / 10)
    assert len(drawn) == 4 * 2
    assert len(encoded) == 3 * 2
    assert found.kernels_per_sample == 0


def test_the_state_of_the_graph_says_why_it_is_not_used() -> None:
    graphs = Graphs(capture=lambda run, inputs: lambda: run(inputs))
    assert gpu.graph_state(None) == "no CUDA device"
    assert gpu.graph_state(graphs) == "used, with the bits of single launches"
    graphs.refused = "the graph gives other numbers"
    assert gpu.graph_state(graphs) == "not used: the graph gives other numbers"
