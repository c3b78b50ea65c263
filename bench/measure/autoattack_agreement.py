"""The four parts of AutoAttack beside those of its authors, image by image, on small networks with random weights.

    pip install pyautoattack
    python -m certrad.bench autoattack-agreement

`pyautoattack` is the authors' code as a package; nothing else here needs it. Both get the same budgets and seeds of
their own, so that Square, a random search, may differ by an image or two. The authors' targeted APGD takes four classes
at least.
"""

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from certrad.bench.common.machine import this_machine
from certrad.models.attacks.autoattack.suite import AutoAttackParams, Part, auto_attack
from certrad.models.attacks.base import Classify, attacked, classes, require_within

SIDE: Final = 16
_TARGETED_NEEDS: Final = 4


@dataclass(frozen=True)
class Agreement:
    """Images that withstand a part: ours, theirs, and those that withstand one of the two only."""

    ours: int
    theirs: int
    differ: int
    seconds_ours: float
    seconds_theirs: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--classes", type=int, nargs="+", default=[6, 3, 2])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--epsilon", type=float, default=3 / 255)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])


def run(arguments: argparse.Namespace) -> None:
    """Attacks the same images twice and prints a row for each part."""
    torch.set_num_threads(1)
    params = AutoAttackParams(epsilon=arguments.epsilon, iterations=arguments.iterations, queries=arguments.queries)
    machine = this_machine()
    print(f"{machine.processor}, {machine.cores} cores, load {machine.load:g}, 1 thread")
    print(f"epsilon {255 * params.epsilon:g}/255, {params.iterations} iterations, {params.queries} queries\n")
    print("| K | part | images | withstand ours | withstand the authors' | differ | s, ours | s, the authors' |")
    print("|---|---|---|---|---|---|---|---|")
    for n_classes in arguments.classes:
        for part in parts_of_both(n_classes):
            rows = [
                compare(part, *random_network(n_classes, arguments.images, seed), params, seed)
                for seed in arguments.seeds
            ]
            print(
                f"| {n_classes} | {part} | {arguments.images * len(rows)} | {sum(row.ours for row in rows)} "
                f"| {sum(row.theirs for row in rows)} | {sum(row.differ for row in rows)} "
                f"| {sum(row.seconds_ours for row in rows):.1f} | {sum(row.seconds_theirs for row in rows):.1f} |"
            )


def parts_of_both(n_classes: int) -> tuple[Part, ...]:
    """The parts that both have for so many classes."""
    targeted: tuple[Part, ...] = ("apgd-t",) if n_classes >= _TARGETED_NEEDS else ()
    return ("apgd-ce", *targeted, "fab-t", "square")


def random_network(n_classes: int, n_images: int, seed: int) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """Logits of a small smooth network with random weights, random images, and the classes it gives them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 8, 5, stride=2), nn.Tanh(), nn.Conv2d(8, 16, 3, stride=2), nn.Tanh()]
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, n_classes)).requires_grad_(False)
        images = torch.rand(n_images, 3, SIDE, SIDE)
    return (lambda pixels: 5 * model(pixels)), images, model(images).argmax(dim=1)


def compare(
    part: Part,
    logits: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    params: AutoAttackParams,
    seed: int,
) -> Agreement:
    """One part of both on the same images, at the same budget."""
    n_classes = logits(images[:1]).shape[1]
    alone = replace(params, parts=(part,))
    classify: Classify = lambda pixels, _: logits(pixels)  # noqa: E731
    generator = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    ours = attacked(
        auto_attack(classify, n_classes, alone), images, labels, epsilon=params.epsilon, generator=generator
    )
    between = time.perf_counter()
    theirs = of_authors(part, logits, images, labels, alone, n_classes=n_classes, seed=seed)
    end = time.perf_counter()
    require_within(images, theirs, params.epsilon)
    withstood = [classes(classify, adversarial, generator) == labels for adversarial in (ours, theirs)]
    return Agreement(
        ours=int(withstood[0].sum()),
        theirs=int(withstood[1].sum()),
        differ=int((withstood[0] != withstood[1]).sum()),
        seconds_ours=between - start,
        seconds_theirs=end - between,
    )


def of_authors(
    part: Part,
    logits: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    params: AutoAttackParams,
    *,
    n_classes: int,
    seed: int,
) -> Tensor:
    """The adversarial images of the authors' code."""
    from pyautoattack import AutoAttack

    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    attack = AutoAttack(logits, attacks=[part], eps=params.epsilon, seed=seed, version="custom")
    attack.verbose = False
    for one in (attack.apgd, attack.apgd_targeted, attack.fab):
        one.n_restarts, one.n_iter = 1, params.iterations
        one.n_target_classes = params.targets_for(n_classes)
    for one in (attack.apgd, attack.apgd_targeted):  # the distances between checkpoints are set where it is built
        one.n_iter_2, one.n_iter_min, one.size_decr = (
            max(int(share * params.iterations), 1) for share in (0.22, 0.06, 0.03)
        )
    attack.square.n_queries = params.queries
    adversarial: Tensor = attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]
    return adversarial
