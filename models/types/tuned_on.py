"""The images that a prompt was tuned on, as keyed digests: only who has the key can tell which images those are."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

_LABEL: Final = b"certrad tuned-on"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDigests:
    """Images that were tuned on while one epoch secret was in use.

    Attributes:
        epoch_sha256: SHA-256 of that epoch secret, 64 hexadecimal digits.
        digests: HMAC-SHA256(epoch secret, "certrad tuned-on" || SHA-256 of the float32 model input) of each image,
            64 hexadecimal digits, sorted and distinct.
    """

    epoch_sha256: str
    digests: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_digests("epoch_sha256", (self.epoch_sha256,))
        _check_digests("digests", self.digests)

    @staticmethod
    def of(secret: bytes, inputs: Iterable[str]) -> "EpochDigests":
        """Returns the keyed digests of some images.

        Args:
            secret: The epoch secret.
            inputs: SHA-256 of the model input of each image, 64 hexadecimal digits; repetitions count once.
        """
        return EpochDigests(
            epoch_sha256=hashlib.sha256(secret).hexdigest(),
            digests=tuple(sorted({keyed_digest(secret, digest) for digest in inputs})),
        )

    def includes(self, secret: bytes, input_sha256: str) -> bool:
        """Returns whether an image is one of these.

        Args:
            secret: The epoch secret.
            input_sha256: SHA-256 of the model input of the image.

        Raises:
            ValueError: The secret is that of another epoch, which would never find an image.
        """
        if (given := hashlib.sha256(secret).hexdigest()) != self.epoch_sha256:
            raise ValueError(f"the epoch secret must have SHA-256 {self.epoch_sha256}, got one with {given}")
        return keyed_digest(secret, input_sha256) in self.digests


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedOn:
    """The images that a prompt, or the members and the gate of a bank, were tuned on.

    Attributes:
        keyed: Images of this installation, by the epoch in which they were tuned on.
        public: SHA-256 of the model input of images that anyone may know, such as those of a published data set;
            sorted and distinct.
        complete: Whether these are all the images; False if the tuning began from a prompt that records none, or not
            all, of its own.
    """

    keyed: tuple[EpochDigests, ...] = ()
    public: tuple[str, ...] = ()
    complete: bool = True

    def __post_init__(self) -> None:
        _check_digests("public", self.public)
        if len({each.epoch_sha256 for each in self.keyed}) != len(self.keyed):
            raise ValueError("each epoch must be named once")

    def with_start(self, start: "TunedOn | None") -> "TunedOn":
        """Returns these images and those of the prompt from which the tuning began.

        Args:
            start: The record of that prompt; None if it has none.
        """
        if start is None:
            return replace(self, complete=False)
        by_epoch = {each.epoch_sha256: set(each.digests) for each in start.keyed}
        for each in self.keyed:
            by_epoch.setdefault(each.epoch_sha256, set()).update(each.digests)
        return TunedOn(
            keyed=tuple(
                EpochDigests(epoch_sha256=epoch, digests=tuple(sorted(digests)))
                for epoch, digests in sorted(by_epoch.items())
            ),
            public=tuple(sorted({*self.public, *start.public})),
            complete=self.complete and start.complete,
        )


def keyed_digest(secret: bytes, input_sha256: str) -> str:
    """Returns what names an image to whoever has the secret, and to nobody else: 64 hexadecimal digits.

    Args:
        secret: The epoch secret.
        input_sha256: SHA-256 of the model input, 64 hexadecimal digits.

    Raises:
        ValueError: The digest is none.
    """
    # No message of a noise key has this length, so that no noise key of this secret can be one of these digests.
    _check_digests("input_sha256", (input_sha256,))
    return hmac.new(secret, _LABEL + bytes.fromhex(input_sha256), hashlib.sha256).hexdigest()


def joined(own: TunedOn | None, earlier: TunedOn | None) -> TunedOn | None:
    """Returns the images of two records of one checkpoint; None if neither has any.

    Args:
        own: The new record; None if it has none.
        earlier: The record before it; None if there is none.
    """
    if own is None or earlier is None:
        return own or earlier
    return own.with_start(earlier)


def _check_digests(name: str, digests: tuple[str, ...]) -> None:
    if list(digests) != sorted(set(digests)) or not all(_SHA256.fullmatch(digest) for digest in digests):
        raise ValueError(f"{name} must be SHA-256 digests of 64 hexadecimal digits, sorted and distinct")
