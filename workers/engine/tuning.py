"""Runs one tuning job in slices; resumes from the last step that is kept, and publishes the prompt before the job ends.

Unlike the blocks of a certificate, epochs need no engine of one kind: an engine resumes what its own kind has done and
otherwise begins anew, so that one seed gives one prompt on one kind of machine.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from functools import cached_property
from typing import Final, cast

import numpy as np
import structlog
import torch
from torch import Tensor

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.images.input_digests import input_digests
from certrad.models.prompts.training.embedding_bank import embedding_bank_from_bytes, embedding_bank_to_bytes
from certrad.models.prompts.training.trainer_state import TrainerState
from certrad.models.prompts.training.tuning import (
    TunedPrompt,
    TuningSet,
    bank_rows,
    bank_starts,
    finish,
    require_fit,
    tune_epochs,
)
from certrad.models.prompts.training.validation import MeasuredSoFar
from certrad.models.types import PromptCard
from certrad.models.types.tuned_on import EpochDigests, TunedOn
from certrad.models.types.tuning import TuningRequest, TuningResult
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import ENDED, Phase, input_key, ledger_key
from certrad.workers.contract.payloads import HandOver, Payloads
from certrad.workers.contract.records import Records
from certrad.workers.contract.tuning_images import TuningImages
from certrad.workers.engine.epochs_done import Epochs
from certrad.workers.engine.ledger import JobEndedError
from certrad.workers.engine.prompt_store import publish, save_own
from certrad.workers.engine.runtime import Runtime
from certrad.workers.queue import stopping
from certrad.workers.queue.shortage import raise_if_disk_is_full
from certrad.workers.queue.slices import Slice, SliceOverError

_LOOK_SECONDS: Final = 0.25
_STATE: Final = "state"
_MEASURED: Final = "measured"
_DIGEST_BYTES: Final = 32
_log = structlog.get_logger()


class Tuning:
    """One attempt at one job."""

    def __init__(self, runtime: Runtime, records: Records, record: JobRecord) -> None:
        if not isinstance(record.request, TuningRequest):
            raise TypeError(f"the engine must get a request to tune, got one to {record.request.kind}")
        if not isinstance(record.image, TuningImages):
            raise TypeError("the engine must get a job whose images intake has decoded")
        self._runtime = runtime
        self._records = records
        self._job_id = record.id
        self._request = record.request
        self._images = record.image
        self._tenant = record.submission.tenant
        self._payloads = Payloads(runtime.redis, ttl=runtime.settings.input_ttl)
        self._looked = 0.0
        self._tenant = record.submission.tenant
        self._slice = Slice(runtime.redis, seconds=runtime.settings.tuning_slice_seconds)

    def tune(self) -> None:
        """Tunes the prompt, measures, stores and publishes it, and hands the result over to `finish`.

        Raises:
            JobEndedError: The job was cancelled.
            Rejected: The images or the parameters are unusable, or the prompt cannot be stored.
            StopRequested: The process is to stop.
            SliceOverError: Certificates wait.
        """
        self._enter("loading")
        class_names, params = self._images.class_names, self._request.params
        require_fit(self._backbone, class_names, params)
        data = self._data()
        bank = self._bank(data) if params.method == "advpt" else None
        epochs = self._train(data, bank)
        self._enter("evaluating")
        tuned = finish(
            self._backbone,
            data,
            class_names,
            params,
            epochs.state,
            epochs.losses,
            resume=None if (content := self._recall(_MEASURED)) is None else MeasuredSoFar.from_bytes(content),
            on_batch=lambda measured: self._go_on(lambda: self._keep(_MEASURED, measured.to_bytes())),
        )
        self._require_under_way()
        card = self._store(tuned, data)
        hand_over = HandOver(result=TuningResult(prompt=card.id, card=card))
        if not self._payloads.put_hand_over(self._job_id, hand_over):
            raise JobEndedError(self._job_id)
        self._enter("finishing")

    @cached_property
    def _backbone(self) -> Backbone:
        """Returns the backbone in float32, as both papers use it, on this installation's number of threads."""
        torch.set_num_threads(self._runtime.settings.threads)
        name = self._request.adapter
        adapter = None if name is None else self._runtime.adapter_card(name)
        return self._runtime.backbone(self._request.backbone, "float32", adapter)

    @cached_property
    def _kind(self) -> str:
        """Returns the digest of everything that decides the results of this engine's arithmetic."""
        settings, device = self._runtime.settings, self._runtime.device.type
        adapter = None if self._backbone.adapter is None else self._backbone.adapter.sha256
        identity = [self._backbone.sha256, adapter, device, settings.threads, self._runtime.software]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def _enter(self, phase: Phase) -> None:
        if not self._records.enter(self._job_id, phase):
            raise JobEndedError(self._job_id)

    def _go_on(self, keep: Callable[[], None] = lambda: None) -> None:
        """Checks that the job may continue; it looks at the job a few times a second at most.

        Args:
            keep: Keeps what is done, if it does not continue because its slice is over.

        Raises:
            JobEndedError: The job has ended.
            StopRequested: The process is to stop.
            SliceOverError: Certificates wait.
        """
        stopping.raise_if_stopped()
        if not self._slice.begin_step():
            keep()
            raise SliceOverError(self._tenant)
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._require_under_way()

    def _require_under_way(self) -> None:
        """Refuses a job that has ended, because its prompt must not be put into use.

        Raises:
            JobEndedError: The job has ended.
        """
        if self._records.status(self._job_id) in (None, *ENDED):
            raise JobEndedError(self._job_id)

    def _data(self) -> TuningSet:
        """Returns the images that intake put into Redis, checked against their digest.

        Raises:
            Rejected: worker_lost, digest_mismatch.
        """
        decoded = self._images
        side = self._backbone.image_size
        stored = self._runtime.redis.hmget(input_key(self._job_id), [str(index) for index in range(decoded.count)])
        payloads = [payload for payload in cast("list[bytes | None]", stored) if payload is not None]
        if len(payloads) != decoded.count:
            raise Rejected("worker_lost", "the decoded images expired in the job store")
        content = bytearray().join(payloads)
        if hashlib.sha256(content).hexdigest() != decoded.images_sha256:
            raise Rejected("digest_mismatch", "the decoded images changed in the job store")
        images = torch.from_numpy(np.frombuffer(content, dtype="<f4").reshape(decoded.count, 3, side, side))
        training = len(decoded.training_labels)
        return TuningSet(
            images=images[:training],
            labels=torch.tensor(decoded.training_labels),
            validation_images=images[training:],
            validation_labels=torch.tensor(decoded.validation_labels, dtype=torch.int64),
            image_map=decoded.image_map,
        )

    def _bank(self, data: TuningSet) -> Tensor:
        self._enter("attacking")
        self._publish_images(0, len(data.images))
        rows = []
        for start in bank_starts(len(data.images)):
            rows.append(self._bank_rows(data, start))
            self._publish_images(sum(map(len, rows)), len(data.images))
        return torch.cat(rows)

    def _publish_images(self, done: int, total: int) -> None:
        if not self._records.images_progress(self._job_id, images_done=done, images_total=total):
            raise JobEndedError(self._job_id)

    def _bank_rows(self, data: TuningSet, start: int) -> Tensor:
        step = f"bank-{start}"
        if (content := self._recall(step)) is not None:
            return embedding_bank_from_bytes(content)
        self._go_on()
        rows = bank_rows(self._backbone, data, self._request.params, start)
        self._keep(step, embedding_bank_to_bytes(rows))
        return rows

    def _train(self, data: TuningSet, bank: Tensor | None) -> Epochs:
        self._enter("tuning")
        params = self._request.params
        content = self._recall(_STATE)
        resumed = None if content is None else Epochs.from_bytes(content)
        losses = list(resumed.losses) if resumed else []

        def before_batch(state: Callable[[], TrainerState]) -> None:
            self._go_on(lambda: self._keep(_STATE, Epochs(state=state(), losses=tuple(losses)).to_bytes()))

        states = tune_epochs(
            self._backbone,
            data,
            self._images.class_names,
            params,
            bank=bank,
            resume=resumed.state if resumed else None,
            on_batch=before_batch,
        )
        epochs = resumed
        for state in states:
            if state.epoch > len(losses):
                losses.append(self._finite(state))
                epochs = Epochs(state=state, losses=tuple(losses))
                self._keep(_STATE, epochs.to_bytes())
            if losses and not self._records.epoch_progress(
                self._job_id, epochs_done=state.epoch, epochs_total=params.epochs, loss=losses[-1]
            ):
                raise JobEndedError(self._job_id)
        if epochs is None:
            raise RuntimeError("a training has at least one epoch")
        return epochs

    def _finite(self, state: TrainerState) -> float:
        if not math.isfinite(state.loss):
            raise Rejected("invalid_request", f"the loss of epoch {state.epoch} is not finite: lower `lr`")
        return state.loss

    def _keep(self, step: str, content: bytes) -> None:
        """Puts a finished step into Redis, from which an engine of this kind can resume the job.

        Raises:
            JobEndedError: The job has ended.
        """
        checked = hashlib.sha256(content).digest() + content
        if not self._payloads.put_step(self._job_id, f"{self._kind}:{step}", checked):
            raise JobEndedError(self._job_id)

    def _recall(self, step: str) -> bytes | None:
        """Returns a step that an engine of this kind has finished; None if it is missing or incomplete."""
        checked = cast("bytes | None", self._runtime.redis.hget(ledger_key(self._job_id), f"{self._kind}:{step}"))
        if checked is None:
            return None
        digest, content = checked[:_DIGEST_BYTES], checked[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            _log.warning("a step of a tuning cannot be read", job_id=self._job_id, step=step)
            return None
        return content

    def _store(self, tuned: TunedPrompt, data: TuningSet) -> PromptCard:
        """Stores the prompt on this node and publishes it, in use even if it was withdrawn before.

        Returns:
            The card of the prompt.

        Raises:
            Rejected: storage_unavailable.
            ShortageError: The disk is full.
        """
        redis, directory = self._runtime.redis, self._runtime.settings.prompts_dir
        images = EpochDigests.of(self._runtime.epochs.current().secret, input_digests(data.images))
        try:
            card = save_own(
                directory,
                self._tenant,
                tuned.context,
                name=self._request.name,
                method=self._request.params.method,
                backbone=self._backbone,
                class_names=self._images.class_names,
                task=self._request.task,
                tuning=tuned.tuning,
                measured=tuned.measured,
                tuned_on=TunedOn(keyed=(images,)),
            )
        except OSError as error:
            raise_if_disk_is_full(error)
            raise Rejected("storage_unavailable", f"the prompt was not stored: {error.strerror}") from error
        publish(redis, directory, card)
        Catalogue(redis, tenant=self._tenant).reinstate_prompt(card.id)
        return card
