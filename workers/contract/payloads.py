"""The payloads of a running job: what intake hands to engines through Redis, and engines to `finish`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from redis import Redis

from certrad.models.types.figures import FIGURES, Figure
from certrad.workers.contract.job import RESULT, JobResult
from certrad.workers.contract.names import document_key, input_key, ledger_key, record_key
from certrad.workers.contract.scripts import PUT


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """The output of an engine that `finish` reads.

    Attributes:
        result: The result of the job.
        document: The certificate document, canonical JSON and not signed yet; None for a tuning.
        figures: What is drawn beside a certificate, as JSON; a figure that the engine did not make is missing.
    """

    result: JobResult
    document: bytes | None = None
    figures: Mapping[Figure, bytes] = field(default_factory=dict[Figure, bytes])

    def to_fields(self) -> dict[str, bytes]:
        """Returns the fields of the hash that holds it."""
        figures = {str(name): content for name, content in self.figures.items()}
        fields = {"result": RESULT.dump_json(self.result), **figures}
        return fields if self.document is None else {"document": self.document, **fields}

    @staticmethod
    def from_fields(stored: Mapping[bytes, bytes]) -> "HandOver":
        """Returns what `to_fields` wrote.

        Args:
            stored: The fields of the hash.

        Raises:
            KeyError: It has no result.
            ValueError: The result is not what this version writes.
        """
        return HandOver(
            result=RESULT.validate_json(stored[b"result"]),
            document=stored.get(b"document"),
            figures={name: stored[name.encode()] for name in FIGURES if name.encode() in stored},
        )


class Payloads:
    """Puts the payloads of jobs into Redis, each for its time to live; they are deleted when the job ends.

    A method that returns False says that the job has ended meanwhile, so that the caller must stop.
    """

    def __init__(self, redis: Redis, *, ttl: int) -> None:
        """Prepares the store.

        Args:
            redis: The job store.
            ttl: Seconds that a payload is kept.
        """
        self._redis = redis
        self._ttl = ttl
        self._put = redis.register_script(PUT)

    def put_input(self, job_id: str, pixels: bytes) -> bool:
        """Puts the decoded image of a certification into Redis for the engines.

        Args:
            job_id: The job's id.
            pixels: What noise is added to, little-endian, in C order: the float32 model input, or the float64
                rendered image; then the model inputs of variants, or the float64 values before the window.

        Returns:
            False if the job has ended.
        """
        return self._put_at(input_key(job_id), job_id, "SET", pixels)

    def put_image(self, job_id: str, index: int, pixels: bytes) -> bool:
        """Puts one of the decoded images of a tuning into Redis for the engines.

        Args:
            job_id: The job's id.
            index: Its place among the images of the tuning.
            pixels: See `put_input`.

        Returns:
            False if the job has ended.
        """
        return self._put_at(input_key(job_id), job_id, "HSET", str(index), pixels)

    def put_step(self, job_id: str, step: str, state: bytes) -> bool:
        """Puts the state of a tuning into Redis for the engine that resumes it.

        Args:
            job_id: The job's id.
            step: Name of the finished step.
            state: Its outcome.

        Returns:
            False if the job has ended.
        """
        return self._put_at(ledger_key(job_id), job_id, "HSET", step, state)

    def put_hand_over(self, job_id: str, hand_over: HandOver) -> bool:
        """Puts the result of a job, with the document of a certification, into Redis for `finish`.

        Args:
            job_id: The job's id.
            hand_over: Result and document.

        Returns:
            False if the job has ended.
        """
        pairs = (part for pair in hand_over.to_fields().items() for part in pair)
        return self._put_at(document_key(job_id), job_id, "HSET", *pairs)

    def put_figure(self, job_id: str, figure: Figure, content: bytes) -> bool:
        """Adds a figure to what `put_hand_over` stored.

        Args:
            job_id: The job's id.
            figure: Its name.
            content: JSON.

        Returns:
            False if the job has ended.
        """
        return self._put_at(document_key(job_id), job_id, "HSET", figure, content)

    def has_hand_over(self, job_id: str) -> bool:
        """Returns whether an engine has handed over a result that `finish` has not used up.

        Args:
            job_id: The job's id.
        """
        return bool(self._redis.exists(document_key(job_id)))

    def read_hand_over(self, job_id: str) -> HandOver | None:
        """Returns what `put_hand_over` stored, or None when it is gone.

        Args:
            job_id: The job's id.

        Raises:
            KeyError: It has no result.
            ValueError: The result is not what this version writes.
        """
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(document_key(job_id)))
        return HandOver.from_fields(stored) if stored else None

    def _put_at(self, key: str, job_id: str, *command: bytes | str) -> bool:
        return bool(self._put(keys=[record_key(job_id), key], args=[self._ttl, *command]))
