"""What regulations ask for, and which items of the evidence speak to it; most is for the manufacturer to write."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

ItemId = Literal[
    "task_card",
    "backbone_card",
    "prompt_cards",
    "adapter_cards",
    "limits",
    "evaluation",
    "audit",
    "attack",
    "selftest",
    "sbom",
    "keys",
    "versions",
    "settings",
]

ITEMS: Final[Mapping[ItemId, str]] = {
    "task_card": "Card of the task: classes, template, defaults, source",
    "backbone_card": "Card of the backbone: source, licence, input, digest of the weights",
    "prompt_cards": "Cards of the learned prompts: how they were tuned and measured",
    "adapter_cards": "Cards of the adapters of the image encoder: how they were trained and measured",
    "limits": "Limits of every certificate, in words",
    "evaluation": "Certified accuracy with 95% intervals, and the table of every image",
    "audit": "Attacks on certified images, and the contradictions they found",
    "attack": "Images attacked without a certificate, and the classes that came out",
    "selftest": "Report of the self-test of a machine",
    "sbom": "Software bill of materials",
    "keys": "Public keys, revocations and commitments to noise secrets",
    "versions": "Versions of the software that the command ran with, and the digest of the certifying code",
    "settings": "Settings in the environment of the command, without secrets",
}
"""Every item of the evidence, with its title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One thing that a text asks for.

    Attributes:
        source: The text, `eu_ai_act` or `fda_cybersecurity`.
        place: Article and paragraph, or the heading of the guidance.
        subject: What it is about, in our words.
        items: The items that speak to it. They inform; none of them fulfils it.
        missing: What of it is not covered.
    """

    source: Literal["eu_ai_act", "fda_cybersecurity"]
    place: str
    subject: str
    items: tuple[ItemId, ...] = ()
    missing: str


SOURCES: Final[Mapping[str, str]] = {
    "eu_ai_act": "Regulation (EU) 2024/1689 (AI Act), Articles 13 and 15",
    "fda_cybersecurity": "FDA, Cybersecurity in Medical Devices: Quality System Considerations and Content of "
    "Premarket Submissions; a later edition is titled Quality Management System Considerations; headings only, without "
    "numbers",
}


def _eu(place: str, subject: str, missing: str, *items: ItemId) -> Requirement:
    return Requirement(source="eu_ai_act", place=place, subject=subject, items=items, missing=missing)


def _fda(place: str, subject: str, missing: str, *items: ItemId) -> Requirement:
    return Requirement(source="fda_cybersecurity", place=place, subject=subject, items=items, missing=missing)


REQUIREMENTS: Final = (
    _eu(
        "Article 13(1)",
        "a system whose output deployers can interpret",
        "whether its readers understand it was not studied",
        "limits",
    ),
    _eu("Article 13(2)", "instructions for use", "these are records, and no instructions for use"),
    _eu("Article 13(3)(a)", "identity of the provider", "this project is no provider in the sense of the regulation"),
    _eu("Article 13(3)(b)(i)", "intended purpose", "research use only; there is no intended medical purpose"),
    _eu(
        "Article 13(3)(b)(ii)",
        "accuracy, robustness and cybersecurity, and what affects them",
        "clinical accuracy was not studied",
        *("evaluation", "audit", "attack", "limits"),
    ),
    _eu(
        "Article 13(3)(b)(iii)",
        "circumstances of use that lead to risks",
        "there is no analysis of risks to health, safety or fundamental rights",
        "limits",
    ),
    _eu("Article 13(3)(b)(iv)", "information that explains the output", "no explanation beyond the limits", "limits"),
    _eu("Article 13(3)(b)(v)", "performance for groups of persons", "no group of persons was measured"),
    _eu(
        "Article 13(3)(b)(vi)",
        "input data, and data of training, validation and testing",
        "the data that the backbone was trained on are known as far as its card tells",
        *("task_card", "backbone_card", "prompt_cards", "adapter_cards"),
    ),
    _eu("Article 13(3)(b)(vii)", "interpretation of the output", "no training of users", "limits"),
    _eu("Article 13(3)(c)", "changes determined in advance", "no change was assessed in advance"),
    _eu("Article 13(3)(d)", "human oversight", "the measures are the deployer's"),
    _eu(
        "Article 13(3)(e)",
        "resources, lifetime and maintenance",
        "no lifetime and no period of maintenance are stated",
        *("selftest", "versions", "settings"),
    ),
    _eu(
        "Article 13(3)(f)", "collecting and reading logs", "the logs and the audit trail are not part of this evidence"
    ),
    _eu(
        "Article 15(1)",
        "consistent accuracy, robustness and cybersecurity",
        "consistency over the lifecycle was not shown; the self-test is of one moment",
        *("evaluation", "audit", "attack", "selftest"),
    ),
    _eu("Article 15(2)", "benchmarks that the Commission encourages", "it is addressed to the Commission"),
    _eu(
        "Article 15(3)",
        "levels and metrics of accuracy, to be declared in the instructions",
        "the instructions for use, which must declare them, are the provider's",
        "evaluation",
    ),
    _eu(
        "Article 15(4)",
        "resilience against errors and faults, and against feedback loops",
        "redundancy depends on the installation",
        "selftest",
    ),
    _eu(
        "Article 15(5)",
        "cybersecurity, with poisoning, adversarial examples and confidentiality attacks",
        "poisoned data and models, and attacks on confidentiality, were not tested",
        *("audit", "attack", "limits", "sbom", "keys"),
    ),
    _fda("Security Risk Management", "a plan and a report of security risks", "there is no such report"),
    _fda(
        "Threat Modeling",
        "a threat model",
        "the project's own, docs/threat_model.md of its repository, is of the software alone; that of an installation "
        "is its operator's",
    ),
    _fda("Third-Party Software Components", "an SBOM with support dates", "levels and ends of support", "sbom"),
    _fda("Security Assessment of Unresolved Anomalies", "open anomalies", "no list of anomalies"),
    _fda("Security Architecture", "controls and architecture views", "architecture views", "keys", "settings"),
    _fda(
        "Cybersecurity Testing",
        "tests of requirements, threats and vulnerabilities, and penetration tests",
        "no penetration test by others; the project's own tests are in its repository",
        *("audit", "attack", "selftest"),
    ),
    _fda(
        "Labeling Recommendations for Devices with Cybersecurity Risks",
        "information that users need to operate securely",
        "there is no labeling: this is no medical device",
        *("settings", "sbom"),
    ),
    _fda("Cybersecurity Management Plans", "how vulnerabilities are handled after release", "there is no such plan"),
)
"""The requirements in the order of their texts."""
