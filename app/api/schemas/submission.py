"""The fields of a submission that decide nothing about its result; POST /certify and POST /prompts share them."""

from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected
from certrad.workers.contract.callbacks import MOST_CHARACTERS, CallbackAddress
from certrad.workers.contract.submission import REFERENCE_MAX, Submission, printable


class SubmissionForm(BaseModel):
    """The fields that every submission may have."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    reference: Annotated[str, StringConstraints(min_length=1, max_length=REFERENCE_MAX)] | None = Field(
        None,
        description="the sender's own note, kept in the job and nowhere else; the same Idempotency-Key with another "
        "one is a conflict",
        examples=["worklist 4711"],
    )
    callback: str | None = Field(
        None,
        max_length=MOST_CHARACTERS,
        description="https address that hears of the end of the job, by a signed POST of its id and status; its host "
        "must be on the operator's list, `CERTRAD_CALLBACK_HOSTS`; the same Idempotency-Key with another one is a "
        "conflict",
        examples=["https://ris.hospital.example/certrad"],
    )

    @field_validator("reference")
    @classmethod
    def _is_printable(cls, reference: str | None) -> str | None:
        return None if reference is None else printable(reference)

    @field_validator("callback")
    @classmethod
    def _is_an_address(cls, callback: str | None) -> str | None:
        return None if callback is None else str(CallbackAddress.read(callback))

    def of(self, submission: Submission, settings: ApiSettings) -> Submission:
        """Returns a submission with what the fields ask for.

        Args:
            submission: Who sends it.
            settings: What the installation allows.

        Raises:
            Rejected: callback_not_allowed.
        """
        if self.callback is not None:
            require_allowed(self.callback, settings)
        return replace(submission, callback=self.callback, reference=self.reference)


def require_allowed(callback: str, settings: ApiSettings) -> None:
    """Refuses an address whose host is not on the operator's list.

    Args:
        callback: An address in its one form.
        settings: The list.

    Raises:
        Rejected: callback_not_allowed.
    """
    hosts = settings.allowed_callbacks
    if not hosts:
        raise Rejected("callback_not_allowed", "this installation sends no callbacks")
    if not hosts.allows(CallbackAddress.read(callback)):
        raise Rejected("callback_not_allowed", "scheme, host and port of `callback` are not on the list")
