"""Rules: the first that matches decides, and an error in the file says where it is and what was expected."""

import time

import pytest

from certrad.app.api.schemas.certify import CertifyForm, parse
from certrad.workers.contract.rules import Certify, Header, Ignore, decide
from certrad.workers.contract.rules_file import REQUEST_FIELDS, RulesError, parse_rules, read_rules
from certrad.workers.contract.variant_fields import Jpeg, Windows

OF_VARIANTS = {"variants", "variant_radius", "variant_n"}
SHIFTED = "variants = [{ kind = 'shift', pixels = 1 }]"

TWO = """
[[rule]]
name = "hands"
match = { modality = ["CR", "DX"], body_part = "hand*" }
task = "mednist"
sigma = 0.25

[[rule]]
name = "all radiographs"
match = { modality = ["CR", "DX"] }
task = "rsna"
"""


def rule_for(text: str, **attributes: str) -> str:
    """The name of the rule that certifies a series."""
    decision = decide(Header(**attributes), parse_rules(text))
    assert isinstance(decision, Certify)
    return decision.rule.name


def problem_of(text: str) -> str:
    """The one error of a file."""
    with pytest.raises(RulesError) as caught:
        parse_rules(text)
    (problem,) = caught.value.problems
    return problem


def test_first_rule_that_matches_decides() -> None:
    assert rule_for(TWO, modality="DX", body_part="HAND") == "hands"
    assert rule_for(TWO, modality="DX", body_part="CHEST") == "all radiographs"


def test_case_and_spaces_around_a_value_do_not_matter() -> None:
    assert rule_for(TWO, modality="dx", body_part=" Hand, left ") == "hands"


def test_no_match_is_ignored() -> None:
    assert decide(Header(modality="MR"), parse_rules(TWO)) == Ignore(rule=None, reason="no rule matches")


def test_any_of_several_tables_may_match() -> None:
    text = '[[rule]]\nname = "x"\nmatch = [{ station = "A?" }, { series_description = "*scout*" }]\n'
    assert rule_for(text, station="A1") == "x"
    assert rule_for(text, series_description="a Scout view") == "x"
    assert isinstance(decide(Header(station="A11"), parse_rules(text)), Ignore)


def test_rule_that_ignores_gives_its_reason() -> None:
    text = '[[rule]]\nname = "x"\nignore = true\nreason = "no patient"\n'
    assert decide(Header(), parse_rules(text)) == Ignore(rule="x", reason="no patient")


@pytest.mark.parametrize(
    "attributes",
    [
        {"series_description": "ACR Phantom"},
        {"series_description": "QA"},
        {"series_description": "weekly QC"},
        {"series_description": "Uniformity test"},
        {"body_part": "PHANTOM"},
    ],
    ids=lambda attributes: next(iter(attributes.values())),
)
def test_first_shipped_rule_holds_quality_control_back(attributes: dict[str, str]) -> None:
    decision = decide(Header(modality="CT", **attributes), read_rules(None))
    assert isinstance(decision, Ignore)
    assert decision.rule == "quality control and phantoms"


@pytest.mark.parametrize("description", ["Thorax PA", "Aqua protocol", "Qatar study", "Sequence C"])
def test_first_shipped_rule_lets_patients_pass(description: str) -> None:
    assert decide(Header(modality="CT", series_description=description), read_rules(None)) == Ignore(
        rule=None, reason="no rule matches"
    )


def test_instances_are_one_from_the_middle_unless_the_rule_says_otherwise() -> None:
    (rule,) = parse_rules('[[rule]]\nname = "x"\n').rules
    assert (rule.instances, rule.max_instances, rule.destination, rule.outputs) == ("middle", 1, "pacs", ("sr", "sc"))


def test_fields_of_a_rule_are_fields_of_the_request() -> None:
    values = (
        'task="mednist"\nbackbone="demo"\nprompt="template"\nadapter="none"\nadaptation="none"\nsigma=0.5\nalpha=0.001\nn0=100\nn=1000\n'
        'bound="cohen"\ntarget_radius=0.25\nwindow="40,400"\nnoise_space="image"\nframe=2\npriority="urgent"\n'
    )
    (rule,) = parse_rules(f'[[rule]]\nname = "x"\n{values}').rules
    assert set(rule.fields) == set(REQUEST_FIELDS) - OF_VARIANTS
    assert parse(rule.fields.items()).target_radius == 0.25
    assert set(REQUEST_FIELDS) <= set(CertifyForm.model_fields)


def test_variants_of_a_rule_are_those_of_the_request() -> None:
    lists = '[{ kind = "windows", windows = [[40, 400.5], "brain"] }, { kind = "jpeg", quality = [30] }]'
    text = f'[[rule]]\nname = "x"\nvariants = {lists}\nvariant_radius = 0.125\nvariant_n = 100\n'
    (rule,) = parse_rules(text).rules
    form = parse(rule.fields.items())
    assert set(rule.fields) == OF_VARIANTS
    assert form.variants == [
        Windows(kind="windows", windows=[(40.0, 400.5), "brain"]),
        Jpeg(kind="jpeg", quality=[30]),
    ]
    assert (form.variant_radius, form.variant_n) == (0.125, 100)


@pytest.mark.parametrize(
    "lists",
    [
        "[]",
        "'[]'",
        "[{}]",
        "[1979-05-27]",
        "[{ kind = 'flip' }]",
        "[{ kind = 'shift', pixels = 17 }]",
        "[{ kind = 'shift' }]",
        "[{ kind = 'windows', windows = [[nan, 400]] }]",
        "{ kind = 'shift', pixels = 1 }",
    ],
)
def test_variants_that_no_request_may_have_are_an_error(lists: str) -> None:
    assert problem_of(f"[[rule]]\nname = 'x'\nvariants = {lists}\n") == (
        "rule 1 ('x'): `variants` must be a list of one table or more, each with `kind` and its fields, as POST "
        "/certify has them"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("variant_radius = 0.1", "`variant_radius` goes with `variants` only"),
        ("variant_n = 100", "`variant_n` goes with `variants` only"),
        (f"{SHIFTED}\ntarget_radius = 0.2", "`variants` and `target_radius` exclude each other"),
        (f"{SHIFTED}\nsigma = 'auto'", '`variants` and `sigma = "auto"` exclude each other'),
        (f"{SHIFTED}\nadaptation = 'zero_shot'", '`variants` and `adaptation = "zero_shot"` exclude each other'),
        (f"{SHIFTED}\nnoise_space = 'image'", '`variants` and `noise_space = "image"` exclude each other'),
    ],
)
def test_rule_whose_every_job_would_be_refused_is_an_error(line: str, expected: str) -> None:
    assert problem_of(f"[[rule]]\nname = 'x'\n{line}\n") == f"rule 1 ('x'): {expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[rule]\n", "line 1: this is not TOML"),
        ("[[rule]]\ntask = 'x'\n", "rule 1: `name` is missing"),
        ("[[rule]]\nname = 'x'\nsigma = 'much'\n", "rule 1 ('x'): `sigma` must be a number from 0.02 to 2, or `auto`"),
        ("[[rule]]\nname = 'x'\nsigma = nan\n", "rule 1 ('x'): `sigma` must be a number from 0.02 to 2, or `auto`"),
        ("[[rule]]\nname = 'x'\nframe = true\n", "rule 1 ('x'): `frame` must be the number of a frame, from 1"),
        ("[[rule]]\nname = 'x'\nn0 = 200\nn = 100\n", "rule 1 ('x'): `n0` must be at most `n`"),
        ("[[rule]]\nname = 'x'\nignore = true\n", "rule 1 ('x'): `reason` must say why these images are ignored"),
        (
            "[[rule]]\nname = 'x'\nignore = true\nreason = 'y'\ntask = 'z'\n",
            "rule 1 ('x'): `ignore` excludes `task`",
        ),
        (
            "[[rule]]\nname = 'x'\ndestination = 'archive'\n",
            "rule 1 ('x'): `destination` must be one of this file, or `pacs`; got \"archive\"",
        ),
        (
            "[[rule]]\nname = 'x'\nmatch = { patient = 'y' }\n",
            "rule 1 ('x'): `match.patient` is unknown; rules match `modality`, `body_part`, `station`, "
            "`series_description`",
        ),
        (
            "[destination.d]\nurl = 'http://me:secret@host/'\n",
            "destination 'd': `url` must be the http or https address of a DICOMweb root, without a password",
        ),
        ("[[rule]]\nname = 'x'\n[[rule]]\nname = 'x'\n", "rule 2 ('x'): another rule has this name"),
        ("rules = 1\n", "`rules`: unknown; a file has `rule` and `destination`"),
        ("rule = 1\n", "`rule`: must be written as `[[rule]]`"),
        ("[[rule]]\nname = ['a']\n", "rule 1: `name` must be a text of 1 to 128 characters"),
        ("[[rule]]\nname = { a = 1 }\n", "rule 1: `name` must be a text of 1 to 128 characters"),
        (
            "[[rule]]\nname = 'x'\nsigma = " + "1" * 400,
            "rule 1 ('x'): `sigma` must be a number from 0.02 to 2, or `auto`",
        ),
        ("[[rule]]\nname = 'x'\nn = " + "1" * 5_000, "this is not TOML that can be read: a number is too long"),
        ("# x\n" + ".".join("a" * 20) + " = 1\n", "line 2: at most 16 dots may be outside quotes"),
        ("#" * 65_537, "the text has more than 65536 bytes"),
    ],
)
def test_error_names_the_rule_and_what_was_expected(text: str, expected: str) -> None:
    assert problem_of(text) == expected


def test_unknown_key_is_an_error_with_the_keys_that_there_are() -> None:
    assert problem_of("[[rule]]\nname = 'x'\nsgima = 1\n").startswith(
        "rule 1 ('x'): `sgima` is unknown; a rule has `name`"
    )


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(RulesError) as caught:
        parse_rules("[[rule]]\nsigma = 9\n[[rule]]\nname = 'y'\nmax_instances = 0\n")
    assert len(caught.value.problems) == 3


def test_dots_in_quotes_and_comments_are_no_parts_of_a_key() -> None:
    dots = "." * 40
    text = f"""[[rule]] # {dots}
name = 'x'
reason = '''{dots}
{dots}'''
ignore = true
match = {{ station = ["{dots}\\"{dots}", '{dots}'] }}
"""
    assert len(parse_rules(text).rules) == 1


def test_a_key_of_very_many_parts_is_refused_at_once() -> None:
    text = ".".join("a" * 20_000) + " = 1"
    started = time.process_time()
    with pytest.raises(RulesError, match="line 1: at most 16 dots"):
        parse_rules(text)
    assert time.process_time() - started < 0.5
