"""The transcript has one text for one sequence of labels, with RFC 6962's tree over them."""

import hashlib
import random
import time
import tracemalloc
from collections.abc import Callable

import pytest

from certrad.models.certificates.labels import merkle_root, parse_labels, run_lengths


def random_labels(n: int, seed: int) -> list[int]:
    generator = random.Random(seed)
    return generator.choices([0, 1, 2, 6, 1000], weights=[80, 10, 5, 4, 1], k=n)


def tree_hash(labels: list[int]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not labels:
        return hashlib.sha256().digest()
    if len(labels) == 1:
        return hashlib.sha256(b"\x00" + labels[0].to_bytes(2, "little")).digest()
    split = 1
    while 2 * split < len(labels):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_hash(labels[:split]) + tree_hash(labels[split:])).digest()


def test_runs_are_written_as_the_schema_says() -> None:
    assert run_lengths([0] * 523 + [2] + [0] * 40) == "0*523 2*1 0*40"


@pytest.mark.parametrize("n", [1, 2, 3, 500])
def test_labels_come_back_from_their_text(n: int) -> None:
    labels = random_labels(n, seed=n)
    assert parse_labels(run_lengths(labels)) == labels


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0*",
        "0*0",
        "0*01",
        "00*1",
        "+0*1",
        "0*1 ",
        " 0*1",
        "0*1  1*1",
        "0*1\n",
        "0*1,1*1",
        "0*1 0*1",
        "0*-1",
        "٣*1",
        "65536*1",
        "0*1000001",
        "0*1000000 1*1",
        "0*" + "9" * 5000,
    ],
)
def test_every_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"required|must be"):
        parse_labels(text)


def test_refusing_a_huge_transcript_costs_nothing() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="1000000 of them at most"):
            parse_labels("0*9999999")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 100])
def test_root_is_that_of_rfc_6962(n: int) -> None:
    labels = random_labels(n, seed=n)
    assert merkle_root(labels) == tree_hash(labels).hex()


def test_root_depends_on_the_order_and_on_every_label() -> None:
    labels = random_labels(64, seed=0)
    swapped = [labels[0] + 1, *labels[1:]], [*labels[:-1], labels[-1] + 1], list(reversed(labels)), [*labels, 0]
    assert len({merkle_root(other) for other in (labels, *swapped)}) == 5


def seconds(work: Callable[[], object]) -> float:
    """Processor time of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def test_a_million_labels_take_three_seconds_at_most() -> None:
    """The limit is processor time; on a slow processor ten times what a million bare digests take."""
    labels, node = random_labels(1_000_000, seed=1), bytes(65)
    digests = seconds(lambda: [hashlib.sha256(node).digest() for _ in range(1_000_000)])

    def there_and_back() -> None:
        assert parse_labels(run_lengths(labels)) == labels
        merkle_root(labels)

    assert seconds(there_and_back) <= max(3.0, 10 * digests)
