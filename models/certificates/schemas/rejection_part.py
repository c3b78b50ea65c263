"""The part of a classifier in a certificate document that names its extra class."""

from dataclasses import dataclass
from typing import Literal

from certrad.models.types.identity import ClassifierIdentity
from certrad.models.types.rejection import rejection_index


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionPart:
    """The extra class of a bank: images that are unlike those the bank was tuned on.

    Attributes:
        kind: The kind of the part.
        rejection_index: Its place among the class names, which is the last.
        rejection_sha256: SHA-256 of its tensors.
    """

    kind: Literal["rejection/1"] = "rejection/1"
    rejection_index: int
    rejection_sha256: str

    @staticmethod
    def of(identity: ClassifierIdentity) -> "tuple[RejectionPart, ...]":
        """Returns the part of a classifier; none where it has no extra class.

        Args:
            identity: The classifier, by digest.
        """
        index, sha256 = rejection_index(identity.class_names), identity.rejection_sha256
        if index is None or sha256 is None:  # both or none, as the identity checks
            return ()
        return (RejectionPart(rejection_index=index, rejection_sha256=sha256),)

    def check(self, class_names: tuple[str, ...]) -> None:
        """Checks that the extra class is the last one.

        Args:
            class_names: The names of all answers, in order.

        Raises:
            ValueError: It is not.
        """
        if self.rejection_index != rejection_index(class_names):
            raise ValueError(f"rejection_index must be that of the extra class, got {self.rejection_index}")
