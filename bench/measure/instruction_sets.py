"""Measures how far logits move between the instruction sets that one processor can be confined to.

    python -m certrad.bench instruction-sets

The same noisy images are classified in fresh processes: as the processor is, with torch confined, and with oneDNN
confined. A label changes only where the difference of two logits changes its sign, so what is told is the largest
change of such a difference, as a cosine similarity in units of the dtype's rounding (`torch.finfo(dtype).eps`), the
labels that changed, and the largest margin of one that did. `models/replay/near_ties.py` takes its margins from here.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.bench.common.classifier import default_encoder
from certrad.bench.common.machine import this_machine
from certrad.models.backbones.device import DTYPES
from certrad.models.backbones.processor import processor_name
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.prompts.store import PromptStore
from certrad.models.shipped import shipped_tasks
from certrad.models.smoothing import Noise, NoisySampler, Stream

TASK: Final = "mednist"
VARIANTS: Final[tuple[Mapping[str, str], ...]] = (
    {"ATEN_CPU_CAPABILITY": "default"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    {"MKL_CBWR": "COMPATIBLE"},
)
"""Environments of a fresh process; one that leaves the name of the processor as it is changes nothing."""
SIGMAS: Final = (0.25, 0.5, 1.0)
BATCH: Final = 32
Logits = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The effect of another instruction set on the labels of one classifier.

    Attributes:
        dtype: Precision of the image encoder.
        processor: Name of the other processor.
        classifier: Name of the prompt or bank.
        sigma: Standard deviation of the noise.
        samples: Noisy images.
        moved: Largest change of the difference of two cosine similarities, in units of the dtype's rounding.
        changed: Labels that changed.
        margin: Largest difference of the two labels of one that changed, in those units; 0 where none did.
    """

    dtype: str
    processor: str
    classifier: str
    sigma: float
    samples: int
    moved: float
    changed: int
    margin: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=sorted(DTYPES))
    parser.add_argument("--samples", type=int, default=64, help=f"of each sigma, a multiple of {BATCH}")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", type=Path, metavar="FILE", help="classify in this very process and write logits")


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    if arguments.here:
        np.savez(arguments.here, **cast("dict[str, Any]", classified(arguments.dtypes[0], arguments.samples)))
        print(processor_name(torch.device("cpu")))
        return
    machine = this_machine()
    changes = [change for dtype in arguments.dtypes for change in measured(dtype, arguments.samples)]
    document = {"changes": [asdict(change) for change in changes], "machine": asdict(machine)}
    print(json.dumps(document, indent=2) if arguments.json else as_markdown(changes))


def measured(dtype: str, samples: int) -> list[Change]:
    """The changes by every variant that gives the processor another name."""
    own_name, own = _in_process({}, dtype, samples)
    others = dict(_in_process(variant, dtype, samples) for variant in VARIANTS)
    return [
        change_of(dtype, name, key, own[key], other[key])
        for name, other in others.items()
        if name != own_name
        for key in own
    ]


def classified(dtype: str, samples: int) -> dict[str, Logits]:
    """The logits of a ramp with noise, as cosine similarities, by classifier and sigma."""
    torch.set_num_threads(1)
    task, backbone = shipped_tasks()[TASK], default_encoder(DTYPES[dtype])
    store = PromptStore(own=Path())
    heads = {"template": TextHead.of_template(backbone, task.class_names, task.template)}
    for name in filter(None, (task.default_prompt, task.default_bank)):
        card = store.card(str(name))
        heads[str(name)] = TextHead.of_prompt(backbone, card.answers, store.load(card))
    ramp = np.linspace(0, 1, backbone.image_size, dtype=np.float32)
    image = np.broadcast_to((ramp[:, None] + ramp) / 2, (3, len(ramp), len(ramp)))
    found: dict[str, list[Logits]] = {}
    for sigma in SIGMAS:
        noise = Noise(bytes(32), "philox-ziggurat-f64")
        sampler = NoisySampler(image=image, sigma=sigma, noise=noise, batch_size=BATCH, device=torch.device("cpu"))
        for start in range(0, samples, BATCH):
            with torch.inference_mode():
                features = backbone.encode_image(sampler.batch(Stream.ESTIMATE, start))
                for name, head in heads.items():
                    classifier: VisionLanguageClassifier = head.classifier(backbone, sigma)
                    cosines = classifier.logits_of_features(features).double().numpy() / backbone.logit_scale
                    found.setdefault(f"{name} {sigma}", []).append(cosines)
    return {key: np.concatenate(parts) for key, parts in found.items()}


def change_of(dtype: str, processor: str, key: str, own: Logits, other: Logits) -> Change:
    """The effect on one classifier at one sigma.

    Args:
        dtype: Precision of the image encoder.
        processor: Name of the other processor.
        key: Classifier and sigma.
        own: Cosine similarities (N, K).
        other: Those of the other processor.
    """
    unit = torch.finfo(DTYPES[dtype]).eps
    moved = np.ptp(other - own, axis=1)
    before, after = own.argmax(axis=1), other.argmax(axis=1)
    rows = np.arange(len(own))
    margins = np.maximum(own[rows, before] - own[rows, after], other[rows, after] - other[rows, before])
    name, sigma = key.rsplit(" ", 1)
    return Change(
        dtype=dtype,
        processor=processor,
        classifier=name,
        sigma=float(sigma),
        samples=len(own),
        moved=round(float(moved.max()) / unit, 2),
        changed=int((before != after).sum()),
        margin=round(float(margins.max()) / unit, 2),
    )


def as_markdown(changes: list[Change]) -> str:
    """The table of the measurements."""
    lines = ["| dtype | processor | classifier | σ | moved, units | labels changed | largest margin, units |"]
    lines.append("|---|---|---|---|---|---|---|")
    lines += [
        f"| {c.dtype} | {c.processor} | {c.classifier} | {c.sigma:g} | {c.moved:.2f} | {c.changed} of {c.samples} "
        f"| {c.margin:.2f} |"
        for c in changes
    ]
    return "\n".join(lines)


def _in_process(variant: Mapping[str, str], dtype: str, samples: int) -> tuple[str, dict[str, Logits]]:
    """Returns the name of the processor in a fresh process with these variables, and what `classified` gives there."""
    names = set().union(*VARIANTS)
    environment = {name: value for name, value in os.environ.items() if name not in names} | dict(variant)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "logits.npz"
        options = ["--here", str(file), "--dtypes", dtype, "--samples", str(samples)]
        answer = subprocess.run(  # noqa: S603  # our own module
            [sys.executable, "-m", "certrad.bench", "instruction-sets", *options],
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        with np.load(file) as logits:
            return answer.stdout.strip().splitlines()[-1], dict(logits)
