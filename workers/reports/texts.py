"""The catalogue of the sentences and labels that reports show to people, in every language."""

import re
import tomllib
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, get_args

from certrad.models.certificates.statement import Statement
from certrad.models.types import TEMPLATE_PROMPT, GatedAdaptation, ZeroShotAdaptation
from certrad.models.types.identity import ClassifierIdentity
from certrad.models.types.image import NoImageRadius, Unit

Language = Literal["en", "de"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

_SEPARATORS: Final[dict[str, tuple[str, str]]] = {"en": (".", ","), "de": (",", "\u202f")}
"""Language -> decimal separator and separator of thousands."""
_GROUPED_FROM: Final = 10_000
_RENDERED_LIMITS: Final = ("claim_rendered", "norm_rendered")
_LIMITS: Final = ("claim", "correctness", "norm", "probability", "classifier", "abstention", "research", "samples")


class Texts:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        """Reads the catalogue.

        Args:
            language: `en` or `de`.

        Raises:
            ValueError: There is no catalogue of that language.
        """
        if language not in LANGUAGES:
            raise ValueError(f"the language of a report must be one of {', '.join(LANGUAGES)}")
        self.language = language
        self._texts = catalogue(language)

    def __call__(self, key: str, **values: str) -> str:
        """Returns a text.

        Args:
            key: Its key, such as `page.banner`.
            **values: What stands in its placeholders.
        """
        return self._texts[key].format(**values) if values else self._texts[key]

    def number(self, value: float) -> str:
        """Returns a number as people of the language write it, with every published decimal.

        Args:
            value: The number.
        """
        point, thousands = _SEPARATORS[self.language]
        exact = Decimal(repr(value)).normalize()
        whole, _, decimals = f"{abs(exact):f}".partition(".")
        if abs(exact) >= _GROUPED_FROM:
            whole = f"{int(whole):,}".replace(",", thousands)
        sign = "\u2212" if exact < 0 else ""
        return f"{sign}{whole}{point if decimals else ''}{decimals}"

    def unit(self, unit: Unit) -> str:
        """Returns the name of a unit of an image's values, in the plural.

        Args:
            unit: The unit.
        """
        return self(f"unit.{unit.replace(' ', '_')}")

    def scope(self, statement: Statement) -> str:
        """Returns the scope sentence of a certificate: in English as it is signed, else what it means.

        Args:
            statement: What the certificate document states.
        """
        if self.language == "en":
            return statement.scope_text
        return " ".join(self(f"scope.{kind}") for kind in scope_kinds(statement.classifier))

    def limits(self, selected: int, estimated: int) -> list[str]:
        """Returns what a reader must not read into a certificate, in the order of the document.

        Args:
            selected: Number of selection samples.
            estimated: Number of estimation samples.
        """
        texts = [self(f"limits.{name}") for name in _LIMITS]
        return [*texts[:-1], texts[-1].format(selected=selected, estimated=estimated)]

    def stated_limits(self, statement: Statement) -> list[str]:
        """Returns the limits of a certificate: in English as they are signed, else what they mean.

        Args:
            statement: What the certificate document states. A limit without a translation stays in English.
        """
        return [self._limit(limit) for limit in statement.limits]

    def _limit(self, limit: str) -> str:
        for name in (*_LIMITS, *_RENDERED_LIMITS, "unlike"):
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[0-9]+)", re.escape(catalogue("en")[f"limits.{name}"]))
            if stated := re.fullmatch(pattern, limit):
                return self(f"limits.{name}", **stated.groupdict())
        return limit

    def no_image_radius(self, radius: NoImageRadius) -> str:
        """Returns why there is no radius in the image's units.

        Args:
            radius: What the document states, with the reason in English.
        """
        prefix = "no_image_radius."
        english = {text: key for key, text in catalogue("en").items() if key.startswith(prefix)}
        return self(english.get(radius.reason, f"{prefix}other"))


def scope_kinds(classifier: ClassifierIdentity) -> tuple[str, ...]:
    """Returns the keys of the sentences that say the scope of a classifier, in their order.

    Args:
        classifier: The base classifier.
    """
    adapter = () if classifier.adapter_images is None else (f"adapter_{classifier.adapter_images}",)
    rendered = () if classifier.noisy_image is None else ("rendered",)
    return (_scope_of_text(classifier), *adapter, *rendered)


def _scope_of_text(classifier: ClassifierIdentity) -> str:
    recorded = "recorded" if classifier.tuning_images == "recorded" else "not_recorded"
    match classifier.adaptation:
        case ZeroShotAdaptation():
            return "zero_shot"
        case GatedAdaptation():
            return f"gated_{recorded}"
        case None if classifier.prompt == TEMPLATE_PROMPT:
            return "template"
        case None:
            return f"prompt_{recorded}"


@cache
def catalogue(language: str) -> dict[str, str]:
    """Returns every text of a language by its key.

    Args:
        language: `en` or `de`.
    """
    source = files("certrad.workers.reports").joinpath("texts", f"{language}.toml")
    return dict(_flattened(tomllib.loads(source.read_text("utf-8")), ""))


def _flattened(table: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    """Returns the texts of a table and of its tables, with keys like `page.banner`."""
    texts: list[tuple[str, str]] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        texts.extend(_flattened(value, f"{key}.") if isinstance(value, dict) else [(key, value)])
    return texts
