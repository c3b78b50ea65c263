"""The input of a certification: the request of a job, its decoded image, and the samples that it needs."""

import hashlib
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from redis import Redis

from certrad.models.errors import Rejected
from certrad.models.images.rendered_image import RenderedImage
from certrad.models.smoothing.plan import SamplingPlan, plan_samples
from certrad.models.types import CertifyRequest
from certrad.models.types.image import ImageRecord
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import input_key


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
        payload = cast("bytes | None", redis.get(input_key(self.job_id)))
        if payload is None:
            raise Rejected("worker_lost", "the decoded image expired in the job store")
        if hashlib.sha256(payload).hexdigest() != self.image.noise_sha256:
            raise Rejected("digest_mismatch", "the decoded image changed in the job store")
        if self.image.noisy is not None:
            return RenderedImage.from_bytes(payload, self.image.noisy.shape).pixels
        return np.frombuffer(payload, dtype="<f4").reshape(3, image_size, image_size)
