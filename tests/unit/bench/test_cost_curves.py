"""`python -m certrad.bench cost-curves`: ratios within a round, and exponents between neighbours."""

import argparse
from pathlib import Path

import pytest
import torch

from certrad.bench.common.growth import Curve, as_markdown, points, write_plot
from certrad.bench.measure import cost_curves


def curve(**changes: object) -> Curve:
    fields = {
        "axis": "samples n",
        "kind": "measured",
        "values": (1, 2, 4),
        "seconds": ((1.0, 10.0, 10.0), (4.0, 40.0, 40.0), (16.0, 160.0, 160.0)),
        "base": 2,
    }
    return Curve(**{**fields, **changes})  # type: ignore[arg-type]  # of what the test gives


def test_slow_rounds_do_not_move_the_ratios() -> None:
    assert [point.ratio for point in points(curve())] == [0.25, 1.0, 4.0]


def test_the_exponent_is_that_of_the_growth_from_the_value_before() -> None:
    assert [point.exponent for point in points(curve())] == [None, pytest.approx(2.0), pytest.approx(2.0)]


@pytest.mark.parametrize(
    "wrong", [{"values": (2, 1, 4)}, {"base": 3}, {"seconds": ((1.0,), (1.0,))}, {"seconds": ((1.0,), (1.0,), ())}]
)
def test_a_curve_without_seconds_of_every_value_in_every_round_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        curve(**wrong)


def test_the_table_tells_measured_and_simulated_apart() -> None:
    text = as_markdown([curve(axis="engines"), curve(axis="engines", kind="simulated")])
    assert "| engines | 2 | measured | 40 | 1 | 2.00 |" in text
    assert "| engines | 2 | simulated | 40 | 1 | 2.00 |" in text


def test_the_plot_has_a_panel_for_each_axis(tmp_path: Path) -> None:
    write_plot(tmp_path / "plot.svg", [curve(), curve(axis="engines"), curve(axis="engines", kind="simulated")])
    drawn = (tmp_path / "plot.svg").read_text("utf-8")
    assert drawn.count('<g id="axes_') == 2


def test_every_axis_moves_alone_and_each_round_times_all_values() -> None:
    parser = argparse.ArgumentParser()
    cost_curves.add_arguments(parser)
    options = ("--sides", "16", "32", "--classes", "3", "2", "--samples", "20", "10", "--n0", "10", "--rounds", "2")
    curves = cost_curves.certificate_curves(parser.parse_args([*options, "--batch-size", "10"]))
    assert [(one.axis, one.values, one.base) for one in curves] == [
        (cost_curves.SIDE, (16, 32), 16),
        (cost_curves.CLASSES, (2, 3), 3),
        (cost_curves.SAMPLES, (10, 20), 20),
    ]
    assert {len(rounds) for one in curves for rounds in one.seconds} == {2}
    assert min(seconds for one in curves for rounds in one.seconds for seconds in rounds) > 0


def test_a_backbone_of_another_side_takes_images_of_that_side() -> None:
    backbone = cost_curves.random_backbone("demo", 32, torch.float32)
    assert backbone.image_size == 32
    assert backbone.encode_image(torch.zeros((1, 3, 32, 32))).shape == (1, 128)
