"""A table says which backbone, prompt and adaptation a request means."""

from dataclasses import replace
from typing import Any

import pytest

from certrad.models.errors import Rejected
from certrad.models.types import AdapterCard, GatedAdaptation, PromptCard, TaskCard, ZeroShotAdaptation
from certrad.models.types.defaults import choose_classifier, default_prompts, require_adapter

CLASSES = ("abdomen CT", "chest X-ray")
FEW_SHOT = PromptCard(
    id="site-0000000000000001",
    name="site",
    method="few_shot",
    backbone="demo",
    backbone_sha256="0" * 64,
    class_names=CLASSES,
    task="mednist",
    n_ctx=4,
    class_specific=False,
    position="end",
    sha256="1" * 64,
)
BANK = replace(FEW_SHOT, id="bank-0000000000000002", method="bank")
ELSEWHERE = replace(FEW_SHOT, id="plip-0000000000000003", backbone="plip")
OTHERS = replace(FEW_SHOT, id="rsna-0000000000000004", class_names=("normal", "opacity"))
OWN = (BANK, FEW_SHOT)
ADAPTER = AdapterCard(
    id="noise-aaaaaaaaaaaaaaaa",
    name="noise",
    backbone="demo",
    backbone_sha256="0" * 64,
    rank=4,
    sigma_range=(0.1, 1.0),
    sha256="a" * 64,
)
ANOTHER = replace(ADAPTER, id="noise-bbbbbbbbbbbbbbbb", sha256="b" * 64)
ALIKE = replace(ADAPTER, sha256="a" * 16 + "b" * 48)
OF_PLIP = replace(ADAPTER, id="noise-cccccccccccccccc", sha256="c" * 64, backbone="plip")
TUNED_ON = replace(FEW_SHOT, id="site-0000000000000005", adapter=ADAPTER.id, adapter_sha256=ADAPTER.sha256)
ADAPTERS = {card.id: card for card in (ADAPTER, ANOTHER, OF_PLIP)}


def choose(**fields: Any) -> tuple[str, str, object]:
    choice = choose_classifier(**{"class_names": CLASSES, "candidates": OWN, "default_backbone": "demo", **fields})
    name = {None: "none", ZeroShotAdaptation(): "zero_shot", GatedAdaptation(): "gated"}[choice.adaptation]
    return choice.backbone, choice.prompt_id, name


@pytest.mark.parametrize(
    ("fields", "prompt", "adaptation"),
    [
        # Nothing is named: the first candidate that fits decides.
        ({}, BANK.id, "gated"),
        ({"candidates": (FEW_SHOT, BANK)}, FEW_SHOT.id, "none"),
        ({"candidates": (OTHERS, ELSEWHERE, FEW_SHOT)}, ELSEWHERE.id, "none"),
        ({"candidates": (OTHERS,)}, "template", "none"),
        ({"candidates": ()}, "template", "none"),
        # The adaptation is named: only prompts that go with it are candidates.
        ({"adaptation": "none"}, FEW_SHOT.id, "none"),
        ({"adaptation": "zero_shot"}, FEW_SHOT.id, "zero_shot"),
        ({"adaptation": "gated", "candidates": (FEW_SHOT, BANK)}, BANK.id, "gated"),
        ({"adaptation": "none", "candidates": ()}, "template", "none"),
        # The operator's default stands for an adaptation that is not named, but not above a bank that is.
        ({"default_adaptation": "none"}, FEW_SHOT.id, "none"),
        ({"default_adaptation": "zero_shot"}, FEW_SHOT.id, "zero_shot"),
        ({"default_adaptation": "none", "candidates": ()}, "template", "none"),
        ({"default_adaptation": "zero_shot", "candidates": ()}, "template", "zero_shot"),
        ({"default_adaptation": "zero_shot", "adaptation": "gated"}, BANK.id, "gated"),
        ({"default_adaptation": "zero_shot", "prompt": BANK}, BANK.id, "gated"),
        # A prompt is named.
        ({"prompt": FEW_SHOT}, FEW_SHOT.id, "none"),
        ({"prompt": FEW_SHOT, "candidates": ()}, FEW_SHOT.id, "none"),
        ({"prompt": FEW_SHOT, "adaptation": "zero_shot"}, FEW_SHOT.id, "zero_shot"),
        ({"prompt": BANK, "candidates": ()}, BANK.id, "gated"),
        # The template is named.
        ({"prompt": "template"}, "template", "none"),
        ({"prompt": "template", "candidates": ()}, "template", "none"),
        ({"prompt": "template", "candidates": (OTHERS,)}, "template", "none"),
        ({"prompt": "template", "adaptation": "zero_shot"}, "template", "zero_shot"),
        # The classes are those of the named prompt.
        ({"class_names": None, "prompt": OTHERS, "candidates": ()}, OTHERS.id, "none"),
    ],
)
def test_prompt_and_adaptation(fields: dict[str, Any], prompt: str, adaptation: str) -> None:
    assert choose(**fields)[1:] == (prompt, adaptation)


@pytest.mark.parametrize(
    ("fields", "backbone", "prompt"),
    [
        ({}, "demo", BANK.id),
        ({"candidates": (ELSEWHERE,)}, "plip", ELSEWHERE.id),
        ({"candidates": (*OWN, ELSEWHERE), "backbone": "plip"}, "plip", ELSEWHERE.id),
        ({"backbone": "plip"}, "plip", "template"),
        ({"prompt": ELSEWHERE}, "plip", ELSEWHERE.id),
        ({"prompt": ELSEWHERE, "default_backbone": None}, "plip", ELSEWHERE.id),
        ({"prompt": "template"}, "demo", "template"),
        ({"prompt": "template", "default_backbone": None, "backbone": "plip"}, "plip", "template"),
    ],
)
def test_backbone(fields: dict[str, Any], backbone: str, prompt: str) -> None:
    assert choose(**fields)[:2] == (backbone, prompt)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"prompt": ELSEWHERE, "backbone": "demo"}, "prompt_mismatch"),
        ({"prompt": OTHERS}, "prompt_mismatch"),
        ({"prompt": replace(FEW_SHOT, class_names=CLASSES[::-1])}, "prompt_mismatch"),
        ({"prompt": BANK, "adaptation": "none"}, "prompt_mismatch"),
        ({"prompt": BANK, "adaptation": "zero_shot"}, "prompt_mismatch"),
        ({"prompt": FEW_SHOT, "adaptation": "gated"}, "prompt_mismatch"),
        ({"prompt": "template", "adaptation": "gated"}, "prompt_mismatch"),
        ({"candidates": (FEW_SHOT,), "adaptation": "gated"}, "prompt_mismatch"),
        ({"candidates": (), "default_backbone": None}, "unknown_backbone"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        choose(**fields)
    assert caught.value.code == code


def test_a_learned_prompt_has_the_bare_template() -> None:
    learned, plain = (
        choose_classifier(class_names=CLASSES, candidates=candidates, default_backbone="demo")
        for candidates in (OWN, ())
    )
    assert learned.template("a photo of {}.") == "{}"
    assert plain.template("a photo of {}.") == "a photo of {}."


@pytest.mark.parametrize(
    ("chosen", "known", "ids"),
    [
        (None, OWN, [BANK.id, FEW_SHOT.id]),
        (ELSEWHERE.id, (*OWN, ELSEWHERE), [ELSEWHERE.id, BANK.id, FEW_SHOT.id]),
        (ELSEWHERE.id, OWN, [BANK.id, FEW_SHOT.id]),  # withdrawn, or never published
        (None, (FEW_SHOT,), [FEW_SHOT.id]),
        (None, (ELSEWHERE,), []),
    ],
)
def test_default_prompts_in_order(chosen: str | None, known: tuple[PromptCard, ...], ids: list[str]) -> None:
    task = TaskCard(
        id="mednist",
        title="MedNIST",
        class_names=CLASSES,
        template="a photo of {}.",
        default_backbone="demo",
        default_prompt=FEW_SHOT.id,
        default_bank=BANK.id,
    )
    assert [card.id for card in default_prompts(task, {card.id: card for card in known}, chosen)] == ids


def choose_with(**fields: Any) -> tuple[str, str, str | None]:
    """The backbone, prompt and adapter of a request."""
    given = {"class_names": CLASSES, "candidates": OWN, "default_backbone": "demo", "adapters": ADAPTERS}
    choice = choose_classifier(**{**given, **fields})
    return choice.backbone, choice.prompt_id, choice.adapter_id


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("demo", BANK.id, None)),
        ({"adapter": ADAPTER}, ("demo", BANK.id, ADAPTER.id)),
        ({"adapter": "none"}, ("demo", BANK.id, None)),
        # The task's default holds for requests that name none, on its own backbone only.
        ({"default_adapter": ADAPTER.id}, ("demo", BANK.id, ADAPTER.id)),
        ({"default_adapter": ADAPTER.id, "adapter": "none"}, ("demo", BANK.id, None)),
        ({"default_adapter": ADAPTER.id, "adapter": ANOTHER}, ("demo", BANK.id, ANOTHER.id)),
        ({"default_adapter": ADAPTER.id, "prompt": ELSEWHERE}, ("plip", ELSEWHERE.id, None)),
        ({"default_adapter": "noise-dddddddddddddddd", "prompt": ELSEWHERE}, ("plip", ELSEWHERE.id, None)),
        # The adapter brings its backbone, as a prompt does.
        ({"adapter": OF_PLIP}, ("plip", "template", OF_PLIP.id)),
        ({"adapter": OF_PLIP, "candidates": (BANK, ELSEWHERE)}, ("plip", ELSEWHERE.id, OF_PLIP.id)),
        # A prompt that was tuned on an adapted tower is used with that adapter.
        ({"prompt": TUNED_ON}, ("demo", TUNED_ON.id, ADAPTER.id)),
        ({"prompt": TUNED_ON, "adapter": ADAPTER}, ("demo", TUNED_ON.id, ADAPTER.id)),
        ({"prompt": TUNED_ON, "default_adapter": ANOTHER.id}, ("demo", TUNED_ON.id, ADAPTER.id)),
        ({"candidates": (TUNED_ON,)}, ("demo", TUNED_ON.id, ADAPTER.id)),
        ({"candidates": (TUNED_ON, FEW_SHOT), "adapter": ANOTHER}, ("demo", FEW_SHOT.id, ANOTHER.id)),
        ({"candidates": (TUNED_ON, FEW_SHOT), "adapter": "none"}, ("demo", FEW_SHOT.id, None)),
    ],
)
def test_adapter_of_a_request(fields: dict[str, Any], expected: tuple[str, str, str | None]) -> None:
    assert choose_with(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"adapter": ADAPTER, "backbone": "plip"}, "adapter_mismatch"),
        ({"adapter": ADAPTER, "prompt": ELSEWHERE}, "adapter_mismatch"),
        ({"adapter": ANOTHER, "prompt": TUNED_ON}, "prompt_mismatch"),
        ({"adapter": "none", "prompt": TUNED_ON}, "prompt_mismatch"),
        ({"prompt": TUNED_ON, "adapters": {}}, "adapter_not_found"),
        ({"prompt": TUNED_ON, "adapters": {ADAPTER.id: ALIKE}}, "prompt_mismatch"),
        ({"default_adapter": "noise-dddddddddddddddd"}, "adapter_not_found"),
    ],
)  # fmt: skip
def test_adapter_that_does_not_fit_is_refused(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as refused:
        choose_with(**fields)
    assert refused.value.code == code


def test_prompt_is_refused_with_another_adapter_than_its_own() -> None:
    require_adapter(TUNED_ON, ADAPTER.sha256)
    for free in (None, FEW_SHOT):
        require_adapter(free, ANOTHER.sha256)
    for other in (None, ANOTHER.sha256):
        with pytest.raises(Rejected, match=ADAPTER.id) as refused:
            require_adapter(TUNED_ON, other)
        assert refused.value.code == "prompt_mismatch"
