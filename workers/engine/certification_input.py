"""The input of a certification: the request of a job, its decoded image, and the samples that it needs."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from redis import Redis

from certrad.models.errors import Rejected
from certrad.models.images.grey_values import GreyValues
from certrad.models.images.model_input import ModelInput
from certrad.models.images.rendered_image import RenderedImage
from certrad.models.smoothing.plan import SamplingPlan, plan_samples
from certrad.models.types import CertifyRequest
from certrad.models.types.image import ImageRecord
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import input_key

_CHANNELS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificationInput:
    """The input of a certification: the request of a job, and its image.

    Attributes:
        job_id: The job's id.
        request: The request with every default filled in.
        image: Facts of the decoded image.
        plan: The samples that the request needs.
    """

    job_id: str
    request: CertifyRequest
    image: ImageRecord
    plan: SamplingPlan

    @staticmethod
    def of(record: JobRecord) -> "CertificationInput":
        """Returns the input of a job.

        Args:
            record: A job that intake has decoded.

        Raises:
            TypeError: The job is of another kind, or its image was never decoded.
        """
        request, image = record.request, record.image
        if not isinstance(request, CertifyRequest):
            raise TypeError(f"the engine must get a request to certify, got one to {request.kind}")
        if not isinstance(image, ImageRecord):
            raise TypeError("the engine must get a job whose image intake has decoded")
        if (image.grey is None) != (request.parameter_sigma is None):
            raise TypeError("intake must have prepared the values before the window if noise on it is asked for")
        if (image.noisy is None) != (request.noise_space == "model_input"):
            raise TypeError(f"intake must have prepared the image for noise_space={request.noise_space}")
        plan = plan_samples(request.sigma, request.params)
        return CertificationInput(job_id=record.id, request=request, image=image, plan=plan)

    def read_pixels(self, redis: Redis, image_size: int) -> NDArray[Any]:
        """Returns what intake put into Redis: the image that noise is added to, (channels, rows, columns).

        Args:
            redis: The job store.
            image_size: Side of the model input in pixels.

        Raises:
            Rejected: `worker_lost` if it is gone, `digest_mismatch` if it changed.
        """
        if self.image.noisy is not None:
            content = _intact(cast("bytes | None", redis.get(input_key(self.job_id))), self.image.noise_sha256)
            return RenderedImage.from_bytes(content, self.image.noisy.shape).pixels
        return self._read_input(redis, image_size, self.image.input_sha256)

    def read_variant(self, redis: Redis, image_size: int, place: int) -> NDArray[Any]:
        """Returns the model input of a variant, (channels, rows, columns).

        Args:
            redis: The job store.
            image_size: Side of the model input in pixels.
            place: The place of the variant, from 0.

        Raises:
            Rejected: `worker_lost` if it is gone, `digest_mismatch` if it changed.
        """
        size, channels = ModelInput.size_in_bytes(image_size), self.image.channels
        part = channels * size // _CHANNELS  # those of a grey image are alike, and only the first one is kept
        payload = self._range(redis, size + place * part, part)
        kept = np.frombuffer(payload or bytes(part), dtype="<f4").reshape(channels, image_size, image_size)
        every = np.ascontiguousarray(np.broadcast_to(kept, (_CHANNELS, image_size, image_size)))
        content = _intact(every.tobytes() if payload else None, self.image.variants[place].input_sha256)
        return np.frombuffer(content, dtype="<f4").reshape(every.shape)

    def read_grey(self, redis: Redis, image_size: int) -> GreyValues:
        """Returns the values before the window.

        Args:
            redis: The job store.
            image_size: Side of the model input in pixels.

        Raises:
            Rejected: `worker_lost` if they are gone, `digest_mismatch` if they changed.
            TypeError: Intake did not prepare them.
        """
        if self.image.grey is None:
            raise TypeError("intake must have prepared the values before the window")
        start = ModelInput.size_in_bytes(image_size)
        content = cast("bytes", redis.getrange(input_key(self.job_id), start, -1))
        if not content:
            raise Rejected("worker_lost", "the decoded image expired in the job store")
        try:
            return GreyValues.from_bytes(content, self.image.grey)
        except ValueError as error:
            raise Rejected("digest_mismatch", "the decoded image changed in the job store") from error

    def _read_input(self, redis: Redis, image_size: int, sha256: str) -> NDArray[Any]:
        content = _intact(self._range(redis, 0, ModelInput.size_in_bytes(image_size)) or None, sha256)
        return np.frombuffer(content, dtype="<f4").reshape(_CHANNELS, image_size, image_size)

    def _range(self, redis: Redis, start: int, size: int) -> bytes:
        """Returns some bytes of what intake put into Redis: the whole of it where nothing else is there."""
        end = start + size - 1 if self.image.variants or self.image.grey is not None else -1
        return cast("bytes", redis.getrange(input_key(self.job_id), start, end))


def _intact(payload: bytes | None, sha256: str) -> bytes:
    if payload is None:
        raise Rejected("worker_lost", "the decoded image expired in the job store")
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise Rejected("digest_mismatch", "the decoded image changed in the job store")
    return payload
