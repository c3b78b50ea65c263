"""The block ledger: the facts that are fixed once per job, and each block's labels, committed exactly once."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, cast

import torch
from redis import Redis
from safetensors.torch import load, save

from certrad.models.prompts.gate import Gate
from certrad.models.prompts.rejection import PREFIX, Rejection
from certrad.models.types import LabelCounts, NoiseLaw
from certrad.models.types.routing import RouteSelection, Selection
from certrad.workers.contract import totals, tracing
from certrad.workers.contract.names import ENDED, TOTALS, claims_key, ledger_key, record_key
from certrad.workers.contract.scripts import HAS_ENDED

LABEL_BYTES: Final = 2
_FIXED: Final = "fixed"
_COUNTERS: Final = (totals.field(totals.BLOCKS_COMMITTED.name), totals.field(totals.BLOCKS_REDONE.name))

# KEYS record, ledger, claims, totals; ARGV field, payload, ttl, engine, counter if it is new, counter if it is not (''
# for neither). Answers whether this payload was the first, and the one that stands; or nil once the job has ended. Who
# committed is kept beside the claims, and is no part of any document.
_COMMIT: Final = f"""{HAS_ENDED}
if has_ended(KEYS[1]) then return nil end
local first = redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2])
if first == 1 then
  redis.call('EXPIRE', KEYS[2], ARGV[3])
  if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('HINCRBY', KEYS[3], 'by:' .. ARGV[4], 1) end
end
local counter = first == 1 and ARGV[5] or ARGV[6]
if counter ~= '' then redis.pcall('HINCRBY', KEYS[4], counter, 1) end
return {{first, redis.call('HGET', KEYS[2], ARGV[1])}}
"""


class JobEndedError(Exception):
    """The job was cancelled or ended elsewhere; the engine that works on it stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineIdentity:
    """The properties of an engine that no ledger can hand over; only engines with the same ones may share a job.

    Attributes:
        backbone_sha256: SHA-256 of the backbone's weights.
        prompt_sha256: SHA-256 of the prompt checkpoint; None for a template.
        key_sha256: SHA-256 of the noise key, which depends on the epoch secret.
        device: Kind of device.
        processor: Name of the processor, see `processor_name`: another one may give other labels in near-ties. None in
            an entry of a release that did not name it.
        software: Name -> version, with the digest of the code.
        adapter_sha256: SHA-256 of the adapter of the image tower; None for the frozen tower.
    """

    backbone_sha256: str
    prompt_sha256: str | None
    key_sha256: str
    device: str
    processor: str | None
    software: dict[str, str]
    adapter_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the fields by name; without an adapter as a release that knew none of them has them."""
        absent = {"adapter_sha256"} if self.adapter_sha256 is None else set()
        return {name: value for name, value in asdict(self).items() if name not in absent}

    def differences(self, other: "EngineIdentity") -> list[str]:
        """Returns the names of the fields in which two identities differ.

        Args:
            other: Another identity.
        """
        return [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """The facts that all engines of a job must share, fixed before the first estimation sample.

    A second engine reads it and never computes it again: counts of two different classifiers must not be merged.

    Attributes:
        text_features: (K, D) float32; (B, K, D) for a bank.
        context_sha256: SHA-256 of the context vectors that made them, or of the bank; None for a template.
        selection: The selection samples.
        engine: Identity of the engine that fixed it.
        dtype: Precision of the image encoder.
        threads: Threads of the arithmetic.
        batch_size: Samples of one batch; the stored entry names it `block_size`.
        block_size: Samples of one block, a divisor of `batch_size`; the stored entry names it `commit_size`.
        law: Law of the noise.
        epoch_sha256: SHA-256 of the noise key's secret; another one may be current when the job resumes.
        gate: The gate of a bank; None for one prompt.
        members: SHA-256 of the context vectors of each member of a bank.
        channels_last: Memory format of the image tower.
        rejection: The extra class of a bank; None where it has none.
    """

    text_features: torch.Tensor
    context_sha256: str | None
    selection: Selection
    engine: EngineIdentity
    dtype: str
    threads: int
    batch_size: int
    block_size: int
    law: NoiseLaw
    epoch_sha256: str
    gate: Gate | None = None
    members: tuple[str, ...] = ()
    channels_last: bool = False
    rejection: Rejection | None = None

    def to_bytes(self) -> bytes:
        """Returns a length-prefixed JSON header, then the tensors as safetensors."""
        selector = self.selection.selector if isinstance(self.selection, RouteSelection) else None
        rest = {
            "context_sha256": self.context_sha256,
            "per_class": self.selection.classes.per_class,
            "invalid": self.selection.classes.invalid,
            "engine": self.engine.to_json(),
            "dtype": self.dtype,
            "threads": self.threads,
            "block_size": self.batch_size,
            "commit_size": self.block_size,
            "law": self.law,
            "epoch_sha256": self.epoch_sha256,
            "selector": None if selector is None else asdict(selector),
            "sigma_range": None if self.gate is None else self.gate.sigma_range,
            "members": self.members,
            **({"channels_last": True} if self.channels_last else {}),  # no field where an earlier release had none
        }
        of_gate = {} if self.gate is None else self.gate.tensors
        of_rejection = {} if self.rejection is None else self.rejection.tensors
        tensors = {"text_features": self.text_features, **of_gate, **of_rejection}
        packed: bytes = save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})
        header = json.dumps(rest).encode()
        return len(header).to_bytes(4, "little") + header + packed

    @classmethod
    def from_bytes(cls, payload: bytes) -> "LedgerEntry":
        """Returns what `to_bytes` wrote.

        Args:
            payload: The bytes.
        """
        end = 4 + int.from_bytes(payload[:4], "little")
        rest = json.loads(payload[4:end])
        classes = LabelCounts(per_class=tuple(rest.pop("per_class")), invalid=rest.pop("invalid"))
        engine = EngineIdentity(**{"processor": None, **rest.pop("engine")})
        selection = Selection(classes=classes)
        if (selector := rest.pop("selector")) is not None:
            votes = LabelCounts(per_class=tuple(selector["per_class"]), invalid=selector["invalid"])
            selection = RouteSelection(classes=classes, selector=votes)
        tensors = load(payload[end:])
        features, sigma_range = tensors.pop("text_features"), rest.pop("sigma_range")
        of_gate = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}
        gate = None if sigma_range is None else Gate(sigma_range=tuple(sigma_range), **of_gate)
        return cls(
            text_features=features,
            gate=gate,
            rejection=Rejection.from_tensors(tensors),
            members=tuple(rest.pop("members")),
            selection=selection,
            engine=engine,
            batch_size=rest.pop("block_size"),
            block_size=rest.pop("commit_size"),
            **rest,
        )


class RedisLedger:
    """The ledger of one job in Redis; entries are written once and never change (satisfies `smoothing.Blocks`)."""

    def __init__(
        self,
        redis: Redis,
        job_id: str,
        *,
        ttl: int,
        raise_if_stopped: Callable[[], None],
        part: str = "",
        engine: str = "",
        on_redone: Callable[[bool], None] | None = None,
    ) -> None:
        """Opens the ledger.

        Args:
            redis: The job store.
            job_id: The job's id.
            ttl: Seconds that it is kept.
            raise_if_stopped: Called after each commit; raises to stop.
            part: Name of one of several runs of samples, whose blocks are kept apart; "" where there is one run.
            engine: Name of the engine that commits.
            on_redone: Called when a block was committed before by another engine, or by this one in a request that
                was sent twice, with whether the labels that stand are the same.
        """
        self._redis = redis
        self._job_id = job_id
        self._ttl = ttl
        self._raise_if_stopped = raise_if_stopped
        self._part = part
        self._engine = engine
        self._on_redone = on_redone
        self._commit = redis.register_script(_COMMIT)

    def fixed(self) -> LedgerEntry | None:
        """Returns the fixed entry, or None if no engine has fixed one."""
        payload = cast("bytes | None", self._redis.hget(ledger_key(self._job_id), _FIXED))
        return None if payload is None else LedgerEntry.from_bytes(payload)

    def fix(self, proposal: LedgerEntry) -> LedgerEntry:
        """Fixes the proposal, unless another engine was first.

        Args:
            proposal: The entry that this engine would share.

        Returns:
            The fixed entry.

        Raises:
            JobEndedError: The job has ended.
        """
        return LedgerEntry.from_bytes(self._write(_FIXED, proposal.to_bytes())[1])

    def committed(self) -> dict[int, bytes]:
        """Returns the committed labels by the index of their first sample."""
        entries = cast("dict[bytes, bytes]", self._redis.hgetall(ledger_key(self._job_id)))
        part = self._part.encode()
        of_part = {field[len(part) :]: labels for field, labels in entries.items() if field.startswith(part)}
        return {int(start): labels for start, labels in of_part.items() if start.isdigit()}

    def commit(self, start: int, labels: bytes) -> bytes:
        """Commits the labels of consecutive samples, unless another engine was first.

        Args:
            start: Index of the first sample.
            labels: Little-endian uint16.

        Returns:
            The committed labels.

        Raises:
            JobEndedError: The job has ended.
            StopRequested: The process is to stop.
        """
        is_first, standing = self._write(f"{self._part}{start}", labels, _COUNTERS)
        tracing.committed(start, len(labels) // LABEL_BYTES)
        if not is_first and self._on_redone is not None:
            self._on_redone(standing == labels)
        self._raise_if_stopped()
        return standing

    def read(self, starts: Iterable[int]) -> dict[int, bytes]:
        """Returns the labels of those of the blocks that are committed by now.

        Args:
            starts: First samples of blocks.
        """
        wanted = list(starts)
        if not wanted:
            return {}
        fields = [f"{self._part}{start}" for start in wanted]
        found = cast("list[bytes | None]", self._redis.hmget(ledger_key(self._job_id), fields))
        return {start: labels for start, labels in zip(wanted, found, strict=True) if labels is not None}

    def check(self) -> None:
        """Raises an exception if this engine must not go on with the job.

        Raises:
            JobEndedError: The job has ended.
            StopRequested: The process is to stop.
        """
        self._raise_if_stopped()
        status = cast("bytes | None", self._redis.hget(record_key(self._job_id), "status"))
        if status is None or status.decode() in ENDED:
            raise JobEndedError(self._job_id)

    def _write(self, field: str, payload: bytes, counters: tuple[str, str] = ("", "")) -> tuple[bool, bytes]:
        answer = self._commit(
            keys=[*(key(self._job_id) for key in (record_key, ledger_key, claims_key)), TOTALS],
            args=[field, payload, self._ttl, self._engine, *counters],
        )
        if answer is None:
            raise JobEndedError(self._job_id)
        is_first, standing = cast("tuple[int, bytes]", answer)
        return bool(is_first), standing
