"""The figures of `certrad attack` and `certrad audit` that evidence keeps: nothing else of their files gets in."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from certrad.models.audit.verdict import Verdict
from certrad.models.smoothing.accuracy import Share
from certrad.models.types import TaskCard
from certrad.models.types.rejection import UNLIKE

_OF_ATTACK: Final = ("task", "backbone", "prompt", "adapter", "epsilon", "seed", "attacks")
_INVALID: Final = "invalid"  # the class of an image whose logits are not finite


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    label: str | None
    clean: str
    non_adaptive: str
    adaptive: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attacked:
    task: str
    backbone: str
    prompt: str
    epsilon: float
    seed: int
    attacks: dict[str, str]
    gradient_masking_suspected: bool
    images: tuple[_Image, ...]
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Classifier:
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mode:
    name: str
    classifier: _Classifier


_ATTACKED: Final = TypeAdapter(_Attacked)
_VERDICTS: Final = TypeAdapter(tuple[Verdict, ...])
_MODES: Final = TypeAdapter(tuple[_Mode, ...])


def attacked_images(found: object, task: TaskCard) -> dict[str, Any]:
    """Returns the settings of an attack, its accuracies, and the classes of each image by its number.

    The names of the files are left out, since they may be those of patients. An image without a label counts as
    correct where its class is that of the image before the attack.

    Args:
        found: What `certrad attack --json` printed.
        task: The task of the evidence.

    Raises:
        ValueError: It is something else, about another task, or without an image.
    """
    try:
        given = _ATTACKED.validate_python(found)
    except ValidationError:
        raise ValueError("it must hold what `certrad attack --json` printed") from None
    if given.task != task.id:
        raise ValueError(f"it must be about the task {task.id!r}, got {given.task!r}")
    known = {*task.class_names, UNLIKE, _INVALID}
    if not given.images or any({i.label or i.clean, i.clean, i.non_adaptive, i.adaptive} - known for i in given.images):
        raise ValueError("it must name at least one image, and classes of the task only")
    shares = {
        kind: Share.of(sum(getattr(i, kind) == (i.label or i.clean) for i in given.images), len(given.images))
        for kind in ("clean", "non_adaptive", "adaptive")
    }
    return {
        **{name: getattr(given, name) for name in _OF_ATTACK},
        "gradient_masking_suspected": given.gradient_masking_suspected,
        "accuracy": {kind: asdict(share) for kind, share in shares.items()},
        "images": [
            {
                "image": number,
                **asdict(image),
                "class_held": {kind: getattr(image, kind) == image.clean for kind in ("non_adaptive", "adaptive")},
            }
            for number, image in enumerate(given.images, start=1)
        ],
    }


def verdicts_of(found: Sequence[object], modes: object = ()) -> list[dict[str, Any]]:
    """Returns the verdicts of an audit, each with the adapter of its mode and with whether every certified radius held.

    `adapter` is None for the frozen encoder, and `radius_held` if nothing was attacked.

    Args:
        found: `verdicts` of what `certrad audit --json` printed.
        modes: `settings.modes` of it.

    Raises:
        ValueError: They are something else.
    """
    try:
        verdicts = _VERDICTS.validate_python(tuple(found))
        adapters = {mode.name: mode.classifier.adapter for mode in _MODES.validate_python(modes)}
    except ValidationError:
        raise ValueError("it must hold what `certrad audit --json` printed") from None
    held = [verdict.contradictions == 0 if verdict.attacked else None for verdict in verdicts]
    return [
        {**asdict(verdict), "adapter": adapters.get(verdict.mode), "radius_held": each}
        for verdict, each in zip(verdicts, held, strict=True)
    ]
