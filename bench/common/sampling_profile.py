"""A sampling profiler: which part of a certificate each thread is in, looked at every few milliseconds."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Final

INTERVAL: Final = 0.002
ELSEWHERE: Final = "elsewhere"
PARTS: Final[Mapping[tuple[str, str], str]] = {
    ("models/backbones/base.py", "encode_normalised"): "image encoder",
    ("models/backbones/base.py", "normalised"): "normalisation of the pixels",
    ("models/classifier.py", "logits_of_features"): "head",
    ("models/smoothing/sampling.py", "labels"): "labels",
    ("models/smoothing/sampling.py", "count"): "labels",
    ("models/smoothing/sampling.py", "drawn_ahead"): "waiting for noise",
    ("models/smoothing/noise.py", "ziggurat"): "normals",
    ("models/smoothing/noise.py", "aes_boxmuller"): "normals",
    ("models/smoothing/sampling.py", "_rows_on_cpu"): "noisy pixels of the normals",
    ("models/prompts/context.py", "template_features"): "text encoder",
    ("concurrent/futures/thread.py", "_worker"): "noise thread idle",
}
"""File and function -> part; the innermost one that a thread is in counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One part of a profile.

    Attributes:
        thread: `main` or `noise`.
        part: The part.
        share: In which share of the looks the thread was in it.
    """

    thread: str
    part: str
    share: float


def profiled(action: Callable[[], object], interval: float = INTERVAL) -> tuple[Share, ...]:
    """Performs an action in this thread, and returns where this thread and that of the noise were meanwhile.

    Args:
        action: What is looked at.
        interval: Seconds between two looks.

    Returns:
        The parts of each thread, the largest first.
    """
    found: Counter[tuple[str, str]] = Counter()
    main, ended = threading.get_ident(), threading.Event()

    def look() -> None:
        while not ended.wait(interval):
            frames = sys._current_frames()
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in frames.items():
                if ident == main:
                    found["main", part_of(frame)] += 1
                elif names.get(ident, "").startswith("noise"):
                    found["noise", part_of(frame)] += 1

    watcher = threading.Thread(target=look, name="profiler", daemon=True)
    watcher.start()
    try:
        action()
    finally:
        ended.set()
        watcher.join()
    return shares(found)


def shares(found: Mapping[tuple[str, str], int]) -> tuple[Share, ...]:
    """Returns the parts of each thread as shares of the looks at the main thread, the largest first.

    Args:
        found: (thread, part) -> how often it was seen.
    """
    looks = max(1, sum(seen for (thread, _), seen in found.items() if thread == "main"))
    ordered = sorted(found.items(), key=lambda each: (each[0][0], -each[1]))
    return tuple(Share(thread=thread, part=part, share=seen / looks) for (thread, part), seen in ordered)


def part_of(frame: FrameType | None) -> str:
    """Returns the part that a thread is in, from its innermost frame on.

    Args:
        frame: The innermost frame.
    """
    while frame is not None:
        code = frame.f_code
        for (file, function), part in PARTS.items():
            if code.co_name == function and code.co_filename.endswith(file):
                return part
        frame = frame.f_back
    return ELSEWHERE


def as_table(profile: tuple[Share, ...]) -> str:
    """Returns a profile as a Markdown table.

    Args:
        profile: The shares.
    """
    rows = [f"| {each.thread} | {each.part} | {100 * each.share:.1f} |" for each in profile]
    return "\n".join(["| thread | part | % of the time |", "|---|---|---|", *rows])
