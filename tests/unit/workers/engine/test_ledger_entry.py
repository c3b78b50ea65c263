"""The stored entry of a ledger keeps the names of its fields: engines of two releases may share a job."""

import json
from dataclasses import replace

import torch

from certrad.models.types import LabelCounts
from certrad.models.types.routing import Selection
from certrad.workers.engine.ledger import EngineIdentity, LedgerEntry

ENTRY = LedgerEntry(
    text_features=torch.zeros(6, 4),
    context_sha256=None,
    selection=Selection(classes=LabelCounts(per_class=(1, 2), invalid=3)),
    engine=EngineIdentity(
        backbone_sha256="b" * 64, prompt_sha256=None, key_sha256="k" * 64, device="cpu", processor=None, software={}
    ),
    dtype="float32",
    threads=2,
    batch_size=256,
    block_size=64,
    law="philox-boxmuller-f64",
    epoch_sha256="e" * 64,
)


def test_the_sizes_of_batch_and_block_are_stored_under_the_names_of_their_settings() -> None:
    payload = ENTRY.to_bytes()
    stored = json.loads(payload[4 : 4 + int.from_bytes(payload[:4], "little")])
    assert (stored["block_size"], stored["commit_size"]) == (256, 64)


def test_the_sizes_of_batch_and_block_are_read_back() -> None:
    read = LedgerEntry.from_bytes(ENTRY.to_bytes())
    assert (read.batch_size, read.block_size) == (256, 64)


def test_adapter_of_an_engine_is_read_back_and_sets_it_apart() -> None:
    adapted = replace(ENTRY, engine=replace(ENTRY.engine, adapter_sha256="a" * 64))
    assert LedgerEntry.from_bytes(adapted.to_bytes()).engine == adapted.engine
    assert ENTRY.engine.differences(adapted.engine) == ["adapter_sha256"]


def test_entry_without_an_adapter_is_that_of_a_release_that_knew_none() -> None:
    payload = ENTRY.to_bytes()
    stored = json.loads(payload[4 : 4 + int.from_bytes(payload[:4], "little")])
    assert set(stored["engine"]) == {
        "backbone_sha256", "prompt_sha256", "key_sha256", "device", "processor", "software",
    }  # fmt: skip
    assert LedgerEntry.from_bytes(payload).engine == ENTRY.engine


def test_memory_format_is_read_back_and_stored_only_where_it_is_not_the_usual_one() -> None:
    payload = ENTRY.to_bytes()
    assert b"channels_last" not in payload
    assert not LedgerEntry.from_bytes(payload).channels_last
    assert LedgerEntry.from_bytes(replace(ENTRY, channels_last=True).to_bytes()).channels_last
