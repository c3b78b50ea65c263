"""The block ledger: what is fixed once per job, and each block's labels, committed exactly once."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Final, cast

import torch
from redis import Redis
from safetensors.torch import load, save

from models.types import LabelCounts, NoiseLaw
from workers.contract.names import ledger_key, record_key
from workers.contract.scripts import HAS_ENDED

_FIXED: Final = "fixed"

# KEYS record, ledger; ARGV field, payload, ttl. Answers the payload that stands, or nil once the job has ended.
_COMMIT: Final = f"""{HAS_ENDED}
if has_ended(KEYS[1]) then return nil end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 1 then redis.call('EXPIRE', KEYS[2], ARGV[3]) end
return redis.call('HGET', KEYS[2], ARGV[1])
"""


class JobEndedError(Exception):
    """The job was cancelled or ended elsewhere; whoever works on it stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineIdentity:
    """What an engine brings to a job and no ledger can hand over; only engines of one identity may share a job.

    key_sha256: digest of the noise key, which depends on the epoch secret. software: versions, and digest of the code.
    """

    backbone_sha256: str
    prompt_sha256: str | None
    key_sha256: str
    device: str
    software: dict[str, str]

    def differences(self, other: "EngineIdentity") -> list[str]:
        """The names of the fields in which two identities differ."""
        return [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What every engine that works on a job must share, fixed before the first estimation sample.

    text_features: (K, D) float32. context_sha256: digest of the context vectors that made them, None for a template.
    A second engine reads these and never recomputes them: counts of two different classifiers must not be merged.
    """

    text_features: torch.Tensor
    context_sha256: str | None
    selection: LabelCounts
    engine: EngineIdentity
    dtype: str
    threads: int
    block_size: int
    commit_size: int
    law: NoiseLaw

    def to_bytes(self) -> bytes:
        """A length-prefixed JSON header, then the tensor as safetensors."""
        rest = {
            "context_sha256": self.context_sha256,
            "per_class": self.selection.per_class,
            "invalid": self.selection.invalid,
            "engine": asdict(self.engine),
            "dtype": self.dtype,
            "threads": self.threads,
            "block_size": self.block_size,
            "commit_size": self.commit_size,
            "law": self.law,
        }
        packed: bytes = save({"text_features": self.text_features.contiguous().cpu()})
        header = json.dumps(rest).encode()
        return len(header).to_bytes(4, "little") + header + packed

    @classmethod
    def from_bytes(cls, payload: bytes) -> "Fixed":
        """Reads what `to_bytes` wrote."""
        end = 4 + int.from_bytes(payload[:4], "little")
        rest = json.loads(payload[4:end])
        selection = LabelCounts(per_class=tuple(rest.pop("per_class")), invalid=rest.pop("invalid"))
        engine = EngineIdentity(**rest.pop("engine"))
        features = load(payload[end:])["text_features"]
        return cls(text_features=features, selection=selection, engine=engine, **rest)


class RedisLedger:
    """The ledger of one job in Redis; entries are written once and never change (satisfies `smoothing.Blocks`)."""

    def __init__(self, redis: Redis, job_id: str, *, ttl: int, may_go_on: Callable[[], None]) -> None:
        self._redis = redis
        self._job_id = job_id
        self._ttl = ttl
        self._may_go_on = may_go_on
        self._commit = redis.register_script(_COMMIT)

    def fixed(self) -> Fixed | None:
        """What was fixed, or None when no engine came that far."""
        payload = cast("bytes | None", self._redis.hget(ledger_key(self._job_id), _FIXED))
        return None if payload is None else Fixed.from_bytes(payload)

    def fix(self, proposal: Fixed) -> Fixed:
        """Fixes the proposal, unless another engine was first: then its entry stands and is returned.

        Raises JobEndedError.
        """
        return Fixed.from_bytes(self._write(_FIXED, proposal.to_bytes()))

    def committed(self) -> dict[int, bytes]:
        """Labels by the index of their first sample."""
        entries = cast("dict[bytes, bytes]", self._redis.hgetall(ledger_key(self._job_id)))
        return {int(field): labels for field, labels in entries.items() if field != _FIXED.encode()}

    def commit(self, start: int, labels: bytes) -> None:
        """Commits the labels of consecutive samples once; a repeat changes nothing. Raises JobEndedError."""
        self._write(str(start), labels)
        self._may_go_on()

    def _write(self, field: str, payload: bytes) -> bytes:
        standing = self._commit(
            keys=[record_key(self._job_id), ledger_key(self._job_id)], args=[field, payload, self._ttl]
        )
        if standing is None:
            raise JobEndedError(self._job_id)
        return cast("bytes", standing)
