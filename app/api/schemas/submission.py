"""The fields of a submission that decide nothing about its result; POST /certify and POST /prompts share them."""

from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field, field_validator

from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected
from certrad.workers.contract.callbacks import MOST_CHARACTERS, CallbackAddress
from certrad.workers.contract.submission import Submission


class SubmissionForm(BaseModel):
    """The fields that every submission may have."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    callback: str | None = Field(
        None,
        max_length=MOST_CHARACTERS,
        description="https address that hears of the end of the job, by a signed POST of its id and status; its host "
        "must be on the operator's list, `CERTRAD_CALLBACK_HOSTS`",
        examples=["https://ris.hospital.example/certrad"],
    )

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
        return replace(submission, callback=self.callback)


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
