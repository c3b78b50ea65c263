"""Each field of POST /certify is read or refused by its name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certrad.app.api.problems import InvalidRequest
from certrad.app.api.schemas.certify import CertifyForm, parse
from certrad.models.errors import Rejected
from certrad.models.types import Region, SmoothingParams


def refused(*fields: tuple[str, str]) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse(fields)
    return caught.value


def params_of(form: CertifyForm) -> SmoothingParams:
    assert isinstance(form.sigma, float)
    return SmoothingParams(
        sigma=form.sigma,
        alpha=form.alpha,
        n0=form.n0,
        n=form.n,
        bound=form.bound,
        target_radius=form.target_radius,
    )


def test_defaults_are_those_of_the_types() -> None:
    form = parse([])
    assert params_of(form) == SmoothingParams()


@pytest.mark.parametrize(("name", "value"), [("sigma", "0.02"), ("sigma", "2"), ("alpha", "1e-6"), ("alpha", "0.05")])
def test_ends_of_a_range_belong_to_it(name: str, value: str) -> None:
    assert getattr(parse([(name, value)]), name) == float(value)


@pytest.mark.parametrize(
    "value", ["nan", "NaN", "inf", "-inf", "Infinity", "1e999", "", " ", "0,5", "0x1", "automatic"]
)
@pytest.mark.parametrize("name", ["sigma", "alpha", "adapt_lr", "target_radius"])
def test_what_is_no_finite_number_is_refused(name: str, value: str) -> None:
    error = refused((name, value))
    assert error.code == "invalid_request"
    assert isinstance(error, InvalidRequest)
    assert [entry["field"] for entry in error.errors] == [name]


def test_every_refused_field_is_named() -> None:
    error = refused(("sigma", "9"), ("alpha", "x"), ("bound", "none"))
    assert isinstance(error, InvalidRequest)
    assert sorted(entry["field"] for entry in error.errors) == ["alpha", "bound", "sigma"]


def test_unknown_fields_are_named_and_come_first() -> None:
    error = refused(("sigma", "9"), ("target", "1"), ("colour", "red"))
    assert error.code == "unknown_field"
    assert "`colour`, `target`" in error.detail


@pytest.mark.parametrize("name", ["task", "region", "window", "sigma", "frame", "priority", "classes"])
def test_refusal_does_not_repeat_the_value(name: str) -> None:
    assert "DOE" not in refused((name, "DOE^JANE" * 100)).detail


def test_field_given_twice_is_refused() -> None:
    assert refused(("n", "100"), ("n", "100")).code == "invalid_request"


@pytest.mark.parametrize("target", ["0", "-0.1", "1.5001", "0.12345", "1e-5"])
def test_a_target_radius_out_of_range_is_refused_by_its_name(target: str) -> None:
    error = refused(("sigma", "0.25"), ("target_radius", target))
    assert isinstance(error, InvalidRequest)
    assert [entry["field"] for entry in error.errors] == ["target_radius"]


@pytest.mark.parametrize("target", ["0.0001", "0.25", "1.5"])
def test_a_target_radius_up_to_six_sigma_is_taken(target: str) -> None:
    assert params_of(parse([("sigma", "0.25"), ("target_radius", target)])).target_radius == float(target)


def test_a_target_radius_beside_a_refused_sigma_is_not_blamed() -> None:
    error = refused(("sigma", "9"), ("target_radius", "0.25"))
    assert isinstance(error, InvalidRequest)
    assert [entry["field"] for entry in error.errors] == ["sigma"]


def test_region_becomes_numbers() -> None:
    assert parse([("region", "1,2,30,40")]).rectangle == Region(x=1, y=2, w=30, h=40)
    assert parse([]).rectangle is None


@pytest.mark.parametrize("region", ["1,2,3", "1,2,3,4,5", "1,2,0,4", "1.5,2,3,4", "a,b,c,d", "1, 2,3,4", "-1,0,1,1"])
def test_malformed_region_is_refused(region: str) -> None:
    assert refused(("region", region)).code == "invalid_request"


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([*CertifyForm.model_fields, "other"]), st.text(max_size=40)), max_size=6))
def test_any_text_is_parsed_or_refused_with_a_code(fields: list[tuple[str, str]]) -> None:
    code = None
    try:
        params_of(parse(fields))
    except Rejected as refusal:
        code = refusal.code
    assert code in (None, "invalid_request", "unknown_field")
