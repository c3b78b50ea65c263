"""What a document says about renderings without noise: the answers of the base classifier, each listed, and its words.

It is another classifier than the smoothed one of the radius. Nothing is sampled, so no probability plays a part, and
the claim is checked by computing the answers again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from certrad.models.certificates.canonical import DIGEST
from certrad.models.certificates.variants import NO_CLASS, NOTHING_ELSE, describe
from certrad.models.certificates.window_box_text import ShownImage, box_text, boxes_of_lists
from certrad.models.types.applied_window import AppliedWindow
from certrad.models.types.identity import ClassifierIdentity
from certrad.models.types.renderings import Rendering
from certrad.models.types.result import VariantResult, VariantsResult
from certrad.models.types.variant_lists import VARIANTS_LIMIT, VariantList
from certrad.models.types.variants import UnsmoothedEvidence, VariantsRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedAnswer:
    """The answer of the base classifier for one rendering.

    Attributes:
        rendering: Its name.
        input_sha256: SHA-256 of its model input.
        label: The answer, from 0; the number of classes for none.
    """

    rendering: Rendering
    input_sha256: str
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedUnsmoothed:
    """The answers of the base classifier, without noise, for every listed rendering of the file.

    Attributes:
        lists: What was asked for.
        class_index: The class of the document, from 0; None where it abstains.
        held: Whether every answer is this class; None where the document abstains.
        counterexample: The place of the first rendering with another answer; None where all held.
        per_class: Renderings with each class as their answer.
        invalid: Renderings without an answer.
        rows: The answers in the order of the lists; none where the document abstains.
        text: The claim in words.
    """

    lists: tuple[VariantList, ...]
    class_index: int | None
    held: bool | None
    counterexample: int | None
    per_class: tuple[int, ...]
    invalid: int
    rows: tuple[StatedAnswer, ...]
    text: str

    def __post_init__(self) -> None:
        if len(self.rows) > VARIANTS_LIMIT:
            raise ValueError(f"there must be at most {VARIANTS_LIMIT} renderings, got {len(self.rows)}")


def state_unsmoothed(
    asked: VariantsRequest, found: UnsmoothedEvidence, classifier: ClassifierIdentity, shown: ShownImage
) -> StatedUnsmoothed:
    """Returns what a document states about renderings without noise.

    Args:
        asked: What was asked for.
        found: The answers.
        classifier: The base classifier.
        shown: The image, which boxes of windows are about.
    """
    rows = tuple(
        StatedAnswer(rendering=variant.rendering, input_sha256=variant.input_sha256, label=label)
        for variant, label in zip(found.variants, found.labels, strict=True)
    )
    others = [place for place, row in enumerate(rows) if row.label != found.class_index]
    per_class, invalid = _counts(found.labels, len(classifier.class_names))
    stated = StatedUnsmoothed(
        lists=asked.lists,
        class_index=found.class_index,
        held=None if found.class_index is None else not others,
        counterexample=others[0] if others else None,
        per_class=per_class,
        invalid=invalid,
        rows=rows,
        text="",
    )
    return replace(stated, text=unsmoothed_text(stated, classifier, shown))


def unsmoothed_text(claim: StatedUnsmoothed, classifier: ClassifierIdentity, shown: ShownImage) -> str:
    """Returns a claim about renderings without noise in words; the words that it has already play no part.

    Args:
        claim: The claim.
        classifier: The base classifier.
        shown: The image, which boxes of windows are about.

    Raises:
        ValueError: There is a box of windows, and the image has no window.
    """
    if claim.class_index is None:
        return "The certificate names no class, so that no rendering was tried."
    name, of = classifier.class_names[claim.class_index], f"{len(claim.rows)} listed renderings of the file"
    about = (
        "These are answers of the base classifier without noise, which is another classifier than the smoothed one of "
        f"the radius: they have no radius and no probability. They were computed in {classifier.dtype} on "
        f"{classifier.device}; elsewhere a near-tie may fall the other way."
    )
    if claim.counterexample is None:
        boxes = box_text(claim.lists, shown, name)
        first = f"The base classifier answers {name} for every one of the {of}."
        return f"{first} {boxes and boxes + ' '}{about} {NOTHING_ELSE}"
    row = claim.rows[claim.counterexample]
    answer = _name(row.label, classifier.class_names)
    return (
        f"The base classifier does not answer {name} for all of the {of}: for {describe(row.rendering)} its answer is "
        f"{answer}. {about} {NOTHING_ELSE}"
    )


def unsmoothed_result(
    stated: StatedUnsmoothed, class_names: Sequence[str], window: AppliedWindow | None
) -> VariantsResult:
    """Returns what the result of a job says about renderings without noise.

    Args:
        stated: The claim.
        class_names: The names of the classes, in order.
        window: The window that was applied to the image.
    """
    rows = tuple(
        VariantResult(
            rendering=row.rendering,
            name=describe(row.rendering),
            label=_name(row.label, class_names),
            samples=1,
            agreeing=int(row.label == stated.class_index),
            p_a_lower=0.0,
            p_b_upper=1.0,
            radius=0.0,
            input_sha256=row.input_sha256,
        )
        for row in stated.rows
    )
    return VariantsResult(
        held=stated.held,
        tried=len(rows),
        radius=0.0,
        asked_radius=0.0,
        counterexample=None if stated.counterexample is None else rows[stated.counterexample],
        rows=rows,
        text=stated.text,
        boxes=tuple(boxes_of_lists(stated.lists, window)),
        base="unsmoothed",
    )


def check_unsmoothed(
    claim: StatedUnsmoothed,
    class_index: int | None,
    classifier: ClassifierIdentity,
    shown: ShownImage,
    check_lists: Callable[[Sequence[Rendering]], None],
) -> str:
    """Checks that a claim about renderings without noise follows from the answers that it lists.

    Args:
        claim: The claim.
        class_index: The class of the document; None where it abstains.
        classifier: The base classifier.
        shown: The image, which boxes of windows are about.
        check_lists: Checks that the renderings are all those on the lists, or raises ValueError.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    labels = [row.label for row in claim.rows]
    if claim.class_index != class_index or bool(labels) != (class_index is not None):
        raise ValueError("the class must be that of the document, with every rendering if there is one")
    if labels:
        check_lists([row.rendering for row in claim.rows])
    by_input = dict[str, int]()
    for row in claim.rows:
        if not DIGEST.fullmatch(row.input_sha256) or row.label > len(classifier.class_names):
            raise ValueError("a row must have a digest of 64 hexadecimal digits and the label of a class or of none")
        if by_input.setdefault(row.input_sha256, row.label) != row.label:
            raise ValueError("one model input must have one answer")
    if (claim.per_class, claim.invalid) != _counts(labels, len(classifier.class_names)):
        raise ValueError("the answers do not count to per_class and invalid")
    others = [place for place, label in enumerate(labels) if label != class_index]
    held = None if class_index is None else not others
    if (claim.held, claim.counterexample) != (held, others[0] if others else None):
        raise ValueError("held and the counterexample must follow from the answers")
    if claim.text != unsmoothed_text(claim, classifier, shown):
        raise ValueError("the text is not that of the claim")
    return f"{len(labels)} renderings without noise are listed, as the lists have them"


def _counts(labels: Sequence[int], n_classes: int) -> tuple[tuple[int, ...], int]:
    every = Counter(labels)
    return tuple(every[index] for index in range(n_classes)), every[n_classes]


def _name(label: int, class_names: Sequence[str]) -> str:
    return class_names[label] if label < len(class_names) else NO_CLASS
