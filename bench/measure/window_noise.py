"""Measures what noise on the window shows of MedNIST test images, and attacks the windows that it covers.

    python -m certrad.bench window-noise --data mednist.zip --out window_noise.json

Each image has a window of centre 127.5 and width 255. Samples with noise on the model input alone, and samples with
noise on the window too, bound the probability of the class that selection samples chose. The attack draws fresh samples
at windows within the certified ellipse, and beyond it, in eight directions. A window within it at which a test finds
another class contradicts the certificate.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from certrad.bench.common.encoders import encoders
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, equal_sample, read_split
from certrad.bench.common.options import add_dtype, add_threads, use_threads
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.images.grey_rendering import GreyRenderer
from certrad.models.images.grey_values import GreyValues
from certrad.models.images.model_input import image_map
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_tasks
from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, Stream, certify
from certrad.models.smoothing.bounds import decide_class
from certrad.models.smoothing.labelling import label_batches
from certrad.models.smoothing.parameter_noise import WindowNoise
from certrad.models.smoothing.parameter_samples import ParameterRule, WindowSampler
from certrad.models.smoothing.sampling import count
from certrad.models.types import TEMPLATE_PROMPT, BackboneCard, Certificate, SamplingParams
from certrad.models.types.parameters import ParameterLimits, ParameterSigma
from certrad.models.types.window_lattice import cell

CENTRE: Final = 127.5
WIDTH: Final = 255.0
NOISES: Final = ((12.75, 0.15), (25.5, 0.3))
"""Standard deviations of centre, in grey levels, and of the logarithm of the width."""
PARTS: Final = (0.97, 2.0)
"""Where windows are attacked, in shares of the ellipse."""
DIRECTIONS: Final = 8
_BATCH: Final = 50
_NOTHING: Final = ParameterLimits(centre=0.0, width_low=1.0, width_high=1.0, l2=0.0)
_ATTACK_ALPHA: Final = 1e-6
"""Error probability of one test of the attack: of 1,000 attacks of a true claim, one looks false with 0.001."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one kind of noise shows of one image.

    prompt: the prompt. noise: standard deviations on centre and ln width; 0 for none. image: place in the sample.
    right: whether the selected class is the true one. p_a_lower: its bound. reach: in standard deviations. alone: what
    is covered, each alone: change of the centre, factor of the width, L2. seconds: of the samples.
    """

    prompt: str
    noise: tuple[float, float]
    image: int
    right: bool
    p_a_lower: float
    reach: float
    alone: tuple[float, float, float]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """The attack of one window.

    prompt, noise, image: see `Shown`. part: share of the ellipse. contradicts: whether fresh samples show another
    class. on_top: whether another class has the most samples.
    """

    prompt: str
    noise: tuple[float, float]
    image: int
    part: float
    contradicts: bool
    on_top: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument(
        "--prompts", nargs="+", help="checkpoints, or template; default: template and the bank of the task"
    )
    parser.add_argument("--folder", type=Path, default=SHIPPED_PROMPTS, help="folder of checkpoints beside the shipped")
    parser.add_argument("--images", type=int, default=18, help="test images, as many of each class")
    parser.add_argument("--attacked", type=int, default=6, help="images whose windows are attacked")
    parser.add_argument("--attack-samples", type=int, default=128, help="fresh samples of each attacked window")
    parser.add_argument("--n", type=int, default=1_000, help="estimation samples")
    parser.add_argument("--sigma", type=float, default=0.25, help="noise on the model input")
    parser.add_argument("--seed", type=int, default=0)
    add_dtype(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measures, then writes and prints the result."""
    use_threads(arguments)
    task = shipped_tasks()[TASK]
    card = shipped_backbones()[task.default_backbone]
    dtype = chosen_dtype(arguments.dtype, torch.device("cpu"))
    backbone = load_backbone(card, weights_directory(card, Path("backbones")), dtype=dtype)
    images = read_split(arguments.data, "test")
    chosen = equal_sample(images.labels, len(task.class_names), arguments.images, arguments.seed)
    prompts = arguments.prompts or [name for name in (TEMPLATE_PROMPT, task.default_bank) if name]
    params, shown, attacked = SamplingParams(n=arguments.n), list[Shown](), list[Attacked]()
    for encoder, heads in encoders(backbone, task, prompts, arguments.folder):
        for prompt, head in heads.items():
            for place, index in enumerate(tqdm(chosen, desc=prompt, unit="image")):
                image = Measured(
                    prompt=prompt,
                    place=place,
                    truth=int(images.labels[index]),
                    values=grey_values(images.pixels[index], card),
                    classifier=head.classifier(encoder, arguments.sigma),
                    params=params,
                    sigma=arguments.sigma,
                )
                shown += image.shown()
                if place < arguments.attacked:
                    attacked += image.attacked(shown, arguments.attack_samples)
    document = {
        "sigma": arguments.sigma,
        "n": arguments.n,
        "seed": arguments.seed,
        "dtype": dtype_name(dtype),
        "data_sha256": file_sha256(arguments.data),
        "shown": [asdict(each) for each in shown],
        "attacked": [asdict(each) for each in attacked],
        "machine": asdict(this_machine()),
    }
    write_json(arguments.out, document)
    table = as_markdown(shown, attacked)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def grey_values(pixels: NDArray[np.uint8], card: BackboneCard) -> GreyValues:
    """Returns the values of a grey image of 8 bits, which a window of the function LINEAR shows."""
    rows, columns = pixels.shape
    return GreyValues(
        values=pixels.astype(np.float64),
        map=image_map((rows, columns), 1, card.image_size, card.fit),
        function="LINEAR",
        inverted=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One image, with one prompt.

    prompt: the prompt. place: of the image in the sample. truth: its class. values: before the window. classifier: that
    is smoothed. params: numbers of samples and alpha. sigma: noise on the model input.
    """

    prompt: str
    place: int
    truth: int
    values: GreyValues
    classifier: VisionLanguageClassifier
    params: SamplingParams
    sigma: float

    def shown(self) -> Iterator[Shown]:
        """Yields what noise on the model input alone shows, and then each noise on the window."""
        began, split = time.perf_counter(), self.params.alpha_split(self.classifier.n_classes)
        pixels, params = self._pixels(), self.params.at(self.sigma)
        made = certify(pixels.image, self.classifier, params, key=pixels.noise.key, batch_size=_BATCH)
        if (top := made.selection.top) is None:
            return
        row = partial(Shown, prompt=self.prompt, image=self.place, right=top == self.truth)
        radius = made.outcome.radius if isinstance(made.outcome, Certificate) else 0.0
        yield row(
            noise=(0.0, 0.0),
            p_a_lower=made.outcome.p_a_lower,
            reach=radius / self.sigma,
            alone=(0.0, 1.0, radius),
            seconds=time.perf_counter() - began,
        )
        for noise in NOISES:
            began, rule = time.perf_counter(), ParameterRule(class_index=top, n=self.params.n, split=split)
            found = rule.estimate(self._windows(noise), self.classifier, MemoryBlocks())
            by_centre, by_width, by_l2 = found.limits[:3] or (_NOTHING,) * 3
            yield row(
                noise=noise,
                p_a_lower=found.p_a_lower,
                reach=found.reach,
                alone=(by_centre.centre, by_width.width_high, by_l2.l2),
                seconds=time.perf_counter() - began,
            )

    def attacked(self, shown: Sequence[Shown], samples: int) -> Iterator[Attacked]:
        """Yields the attack of every window in some directions, for each noise on the window that shows something."""
        own = [each for each in shown if (each.prompt, each.image) == (self.prompt, self.place) and each.right]
        for each in own:
            for part, direction in product(PARTS, range(DIRECTIONS)) if each.noise[1] and each.reach > 0 else ():
                angle, length = 2 * math.pi * direction / DIRECTIONS, part * each.reach
                centre = CENTRE + each.noise[0] * length * math.cos(angle)
                width = WIDTH * math.exp(each.noise[1] * length * math.sin(angle))
                windows = self._windows(each.noise, (centre, width), bytes([self.place + 1] * 32))
                starts = range(0, samples, windows.batch_size)
                batches = [found for _, found in label_batches(windows, self.classifier, Stream.PREDICT, starts)]
                counts = count(np.concatenate(batches)[:samples], self.classifier.n_classes)
                decided = decide_class(counts, _ATTACK_ALPHA)
                yield Attacked(
                    prompt=self.prompt,
                    noise=each.noise,
                    image=self.place,
                    part=part,
                    contradicts=decided is not None and decided != self.truth,
                    on_top=counts.top != self.truth,
                )

    def _pixels(self, key: bytes | None = None) -> NoisySampler:
        renderer = GreyRenderer.of(self.values, self.classifier.input_shape[1])
        return NoisySampler(
            image=renderer.model_input(cell(CENTRE, WIDTH)),
            sigma=self.sigma,
            noise=Noise(key or bytes([self.place] * 32)),
            batch_size=_BATCH,
            device=torch.device("cpu"),
        )

    def _windows(
        self, noise: tuple[float, float], window: tuple[float, float] = (CENTRE, WIDTH), key: bytes | None = None
    ) -> WindowSampler:
        pixels, sigma = self._pixels(key), ParameterSigma(window_centre=noise[0], ln_window_width=noise[1])
        return WindowSampler(
            pixels=pixels,
            windows=WindowNoise(noise=pixels.noise, centre=window[0], width=window[1], sigma=sigma),
            render=GreyRenderer.of(self.values, self.classifier.input_shape[1]).model_input,
        )


def as_markdown(shown: Sequence[Shown], attacked: Sequence[Attacked]) -> str:
    """Returns a table with a line for each prompt and noise."""
    lines = [
        "| prompt | noise on centre, ln width | right | mean p_A | median R | R >= 1 | alone: centre | width | L2 | "
        "seconds | attacks within: contradictions | beyond: another class |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for prompt, noise in dict.fromkeys((each.prompt, each.noise) for each in shown):
        rows = [each for each in shown if (each.prompt, each.noise) == (prompt, noise)]
        tried = [each for each in attacked if (each.prompt, each.noise) == (prompt, noise)]
        within, beyond = ([each for each in tried if each.part == part] for part in PARTS)
        right = [each for each in rows if each.right]
        centre, width, l2 = (median(each.alone[place] for each in rows) for place in range(3))
        lines.append(
            f"| `{prompt}` | {f'{noise[0]:g}, {noise[1]:g}' if noise[1] else 'none'} | {len(right) / len(rows):.3f} | "
            f"{mean(each.p_a_lower for each in rows):.3f} | {median(each.reach for each in rows):.2f} | "
            f"{sum(each.reach >= 1 for each in right) / len(rows):.2f} | {centre:.1f} | {width:.3f} | {l2:.3f} | "
            f"{mean(each.seconds for each in rows):.1f} | "
            f"{sum(each.contradicts for each in within)} of {len(within)} | "
            f"{sum(each.on_top for each in beyond)} of {len(beyond)} |"
        )
    return "\n".join(lines) + "\n"
