"""What reports say about a prediction set: the claim of the document in words, and a short line."""

from collections.abc import Callable

from certrad.models.certificates.prediction_sets import StatedPredictionSet
from certrad.models.certificates.statement import Statement
from certrad.workers.reports.texts import Texts

_Number = Callable[[float], str]


def set_claim(stated: StatedPredictionSet, statement: Statement, texts: Texts) -> str:
    """Returns the claim about a prediction set: in English as it is signed, else what it means.

    Words of the claim that the catalogue does not have stay in English.

    Args:
        stated: What the document states of the set.
        statement: What the document states.
        texts: The texts of a language.
    """
    if texts.language == "en" or english_set_claim(stated, statement) != stated.text:
        return stated.text
    return _claim(stated, statement, texts, texts.number)


def english_set_claim(stated: StatedPredictionSet, statement: Statement) -> str:
    """Returns the claim as the English catalogue says it; a test compares it with the signed words.

    Args:
        stated: What the document states of the set.
        statement: What the document states.
    """
    return _claim(stated, statement, Texts("en"), repr)


def set_classes(stated: StatedPredictionSet, statement: Statement, texts: Texts) -> str:
    """Returns the names of the classes on the list; where there is none, that it is empty.

    Args:
        stated: What the document states of the set.
        statement: What the document states.
        texts: The texts of a language.
    """
    return _names(stated, statement) or texts("set.none")


def set_line(stated: StatedPredictionSet, statement: Statement, texts: Texts) -> str:
    """Returns a line about a prediction set for people.

    Args:
        stated: What the document states of the set.
        statement: What the document states.
        texts: The texts of a language.
    """
    values = {"misses": _of_100(stated.beta, texts), "classes": set_classes(stated, statement, texts)}
    if not stated.radius:
        return texts("set.line", **values)
    return texts("set.line_altered", **values, radius=texts.number(stated.radius))


def _claim(stated: StatedPredictionSet, statement: Statement, texts: Texts, number: _Number) -> str:
    names = statement.classifier.class_names
    holds = {0: "set.empty", 1: "set.holds_one"}.get(len(stated.classes), "set.holds")
    sentences = [
        texts(
            "set.claim",
            calibration=stated.calibration,
            misses=_of_100(stated.beta, texts),
            images=texts("set.images_of_each_class" if stated.per_class else "set.images"),
            altered=texts("set.altered", radius=number(stated.radius)) if stated.radius else "",
        ),
        texts(holds, classes=_names(stated, statement))
        if stated.classes
        else texts(holds, misses=_of_100(stated.beta, texts)),
    ]
    if stated.single_class is not None and stated.single_up_to is not None:
        sentences.append(texts("set.single", class_name=names[stated.single_class], radius=number(stated.single_up_to)))
    confidence = f"{1 - stated.delta:g}"
    sentences.append(
        texts(
            "set.share",
            misses=_of_100(stated.misses_at_most, texts),
            of_any=texts("set.of_any_class") if stated.per_class else "",
            confidence=confidence if texts.language == "en" else texts.number(float(confidence)),
        )
    )
    return " ".join([*sentences, texts("set.limits")])


def _names(stated: StatedPredictionSet, statement: Statement) -> str:
    return ", ".join(statement.classifier.class_names[index] for index in stated.classes)


def _of_100(share: float, texts: Texts) -> str:
    short = f"{100 * share:g}"
    return short if texts.language == "en" else texts.number(float(short))
