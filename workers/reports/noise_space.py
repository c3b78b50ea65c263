"""The codes and texts of reports that depend on what noise was added to."""

from certrad.models.certificates.statement import Statement
from certrad.workers.reports import codes
from certrad.workers.reports.codes import Code
from certrad.workers.reports.texts import Texts


def radius_code(statement: Statement) -> Code:
    """Returns the concept of the certified radius."""
    return codes.RADIUS if statement.classifier.noisy_image is None else codes.RENDERED_RADIUS


def sigma_code(statement: Statement) -> Code:
    """Returns the concept of the noise level."""
    return codes.SIGMA if statement.classifier.noisy_image is None else codes.RENDERED_SIGMA


def space_text(statement: Statement, texts: Texts, key: str, **values: str) -> str:
    """Returns the text of a key for noise on the model input, or the one for noise on the rendered image.

    Args:
        statement: What the certificate document states.
        texts: The texts of a language.
        key: The key of the first; that of the second ends in `_rendered`.
        **values: What stands in its placeholders.
    """
    return texts(key if statement.classifier.noisy_image is None else f"{key}_rendered", **values)


def input_space(statement: Statement, texts: Texts) -> str:
    """Returns what noise was added to, as a sentence.

    Args:
        statement: What the certificate document states.
        texts: The texts of a language.
    """
    noisy = statement.classifier.noisy_image
    shape = statement.subject.input_shape if noisy is None else noisy.shape
    return space_text(statement, texts, "input_space.sentence", shape=" x ".join(map(str, shape)))
