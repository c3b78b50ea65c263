"""certrad: classes of medical images with a certified L2 radius, or an abstention.

The names below are the library's face. Each is imported when it is first used, so that `import certrad` costs nothing
and the processes of the service, which share this package, load only what they need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certrad.models.backbones.base import Backbone, load_backbone
    from certrad.models.backbones.in_memory import load_open_clip
    from certrad.models.certificates.verify import verify
    from certrad.models.classifier import VisionLanguageClassifier
    from certrad.models.errors import Rejected
    from certrad.models.prompts.context import template_features
    from certrad.models.smoothing.certification import Certification
    from certrad.models.smoothing.certify import certify, predict
    from certrad.models.smoothing.sampling import BaseClassifier
    from certrad.models.types.smoothing import Abstention, Certificate, SmoothingParams

__all__ = [
    "Abstention",
    "Backbone",
    "BaseClassifier",
    "Certificate",
    "Certification",
    "Rejected",
    "SmoothingParams",
    "VisionLanguageClassifier",
    "certify",
    "load_backbone",
    "load_open_clip",
    "predict",
    "template_features",
    "verify",
]

_MODULES = {
    "Abstention": "certrad.models.types.smoothing",
    "Backbone": "certrad.models.backbones.base",
    "BaseClassifier": "certrad.models.smoothing.sampling",
    "Certificate": "certrad.models.types.smoothing",
    "Certification": "certrad.models.smoothing.certification",
    "Rejected": "certrad.models.errors",
    "SmoothingParams": "certrad.models.types.smoothing",
    "VisionLanguageClassifier": "certrad.models.classifier",
    "certify": "certrad.models.smoothing.certify",
    "load_backbone": "certrad.models.backbones.base",
    "load_open_clip": "certrad.models.backbones.in_memory",
    "predict": "certrad.models.smoothing.certify",
    "template_features": "certrad.models.prompts.context",
    "verify": "certrad.models.certificates.verify",
}


def __getattr__(name: str) -> object:
    """Returns a name of the library's face from the module that defines it.

    Raises:
        AttributeError: The name is none of `__all__`.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'certrad' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
