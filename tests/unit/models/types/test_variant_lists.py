"""Lists of variants stand for renderings, each once and in order; anything else is refused."""

import pytest

from certrad.models.types import (
    AutoSigma,
    CertifyRequest,
    ClassifierSpec,
    FixedSigma,
    SamplingParams,
    SigmaRouting,
    ZeroShotAdaptation,
)
from certrad.models.types.applied_window import HeaderTable, HeaderWindow
from certrad.models.types.renderings import Rendering, ShiftVariant, WindowVariant
from certrad.models.types.sample_size import fewest_samples
from certrad.models.types.smoothing import N_MAX
from certrad.models.types.variant_lists import (
    BitDepths,
    HeaderWindows,
    JpegQualities,
    NeighbourFrames,
    RegionShifts,
    Shifts,
    check_complete,
    static_renderings,
)
from certrad.models.types.variants import VariantsRequest

SPEC = ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a {}")
ASKED = VariantsRequest(lists=(HeaderWindows(),), n=20)


def header(number: int, of: int) -> WindowVariant:
    return WindowVariant(window=HeaderWindow(number=number, of=of, centre=0.0, width=9.0, function="LINEAR"))


TABLE = WindowVariant(window=HeaderTable(number=1, of=1))


def test_shifts_are_all_moves_but_none() -> None:
    moves = {
        (each.down, each.right) for each in static_renderings(Shifts(pixels=2), "") if isinstance(each, ShiftVariant)
    }
    assert moves == {(down, right) for down in range(-2, 3) for right in range(-2, 3)} - {(0, 0)}


def test_moves_of_a_region_are_multiples_of_its_step() -> None:
    assert len(static_renderings(RegionShifts(pixels=9, step=4), "")) == 24


@pytest.mark.parametrize("rows", [[header(1, 2), header(2, 2)], [TABLE, header(1, 1)], [TABLE]])
def test_complete_header_passes_and_one_with_a_window_twice_does_not(rows: list[Rendering]) -> None:
    check_complete((HeaderWindows(),), rows)
    with pytest.raises(ValueError, match=r"on no list|not the ones"):
        check_complete((HeaderWindows(),), [*rows, rows[-1]])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [header(1, 2)],
        [header(2, 2)],
        [header(2, 2), header(1, 2)],
        [header(1, 1), TABLE],
        [header(1, 2), header(1, 2)],
        [header(1, 1), header(1, 1)],
        [*static_renderings(Shifts(pixels=1), "")],
    ],
)
def test_header_that_lacks_or_repeats_a_window_is_refused(rows: list[Rendering]) -> None:
    with pytest.raises(ValueError, match="variants"):
        check_complete((HeaderWindows(),), rows)


@pytest.mark.parametrize(
    "listed", [Shifts(pixels=1), JpegQualities(quality=(5, 5)), BitDepths(bits=(3,)), NeighbourFrames(frames=2)]
)
def test_list_without_its_last_variant_is_refused(
    listed: Shifts | JpegQualities | BitDepths | NeighbourFrames,
) -> None:
    rows = static_renderings(listed, "encoder")
    check_complete((listed,), rows)
    with pytest.raises(ValueError, match="variants"):
        check_complete((listed,), rows[:-1])


@pytest.mark.parametrize(
    "request_",
    [
        lambda: CertifyRequest(
            classifier=SPEC,
            variants=ASKED,
            sigma=AutoSigma(
                SigmaRouting(
                    sigmas=(0.25, 0.5), selector_sigma=0.5, grid=1, weights=((0.0,), (1.0,)), biases=(0.0, 0.0)
                )
            ),
        ),
        lambda: CertifyRequest(classifier=SPEC, variants=ASKED, params=SamplingParams(target_radius=0.1)),
        lambda: CertifyRequest(classifier=SPEC, variants=ASKED, noise_space="image"),
        lambda: CertifyRequest(
            classifier=ClassifierSpec(
                backbone="demo",
                prompt="template",
                class_names=("a", "b"),
                template="a {}",
                adaptation=ZeroShotAdaptation(),
            ),
            variants=ASKED,
        ),
        lambda: VariantsRequest(lists=(HeaderWindows(), HeaderWindows()), n=20),
        lambda: VariantsRequest(lists=(), n=20),
        lambda: VariantsRequest(lists=(HeaderWindows(),), n=9),
        lambda: VariantsRequest(lists=(HeaderWindows(),), n=20, radius=0.00001),
        lambda: Shifts(pixels=17),
        lambda: JpegQualities(quality=()),
        lambda: RegionShifts(pixels=3, step=4),
    ],
)
def test_what_the_minimum_rule_does_not_cover_is_refused(request_: object) -> None:
    with pytest.raises(ValueError, match=r"variants|must"):
        request_()  # type: ignore[operator]


def test_fewest_samples_for_a_radius_grow_with_it_and_may_not_exist() -> None:
    budget, sigma = SamplingParams(bound="cohen"), FixedSigma(0.25).sigma
    assert [fewest_samples(budget, 2, sigma, factor * sigma) for factor in (0.5, 1, 2)] == [19, 40, 301]
    assert fewest_samples(budget, 2, sigma, 6 * sigma) == N_MAX + 1
