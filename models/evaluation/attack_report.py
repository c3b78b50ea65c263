"""The result of `certrad attack`, as JSON and as text: never one of the two accuracies without the other."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from torch import Tensor

from certrad.models.attacks.base import RobustAccuracy
from certrad.models.smoothing.accuracy import Share

Kind = Literal["clean", "non_adaptive", "adaptive"]
KINDS: Final[tuple[Kind, ...]] = ("clean", "non_adaptive", "adaptive")

NOTES: Final = (
    "non-adaptive: made without knowledge of the prompt, as the papers measure; it says how well such images transfer",
    "adaptive: made with knowledge of the prompt; only this is robustness, and only against the attack that was run",
    "classes are those of the attacked images as 8-bit images, within epsilon of the model input",
)
_ONE_ATTACK: Final = "one attack made both figures: it knows the template, and the template is the prompt"
_UNLABELLED: Final = "no labels: the class of the clean image is taken for the true one"
_MASKED: Final = "the adaptive attack did worse than the other: it failed, and its figure is no robustness"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttackReport:
    """The attacked images, the attacks, and the classes and accuracies that came out.

    Attributes:
        class_names: names of the classes, by index.
        backbone: id of the backbone.
        prompt: id of the prompt.
        seed: random seed of the attacks.
        files: names of the image files, as the user gave them.
        labelled: whether the true classes are known.
        labels: indices of the true classes (N,); if not `labelled`, the classes of the clean images.
        classes: predicted classes (N,) for each kind of image, -1 where the logits are not finite.
        accuracy: the three accuracies.
        adapter: id of the adapter of the image encoder; None for the frozen one.
    """

    class_names: tuple[str, ...]
    backbone: str
    prompt: str
    seed: int
    files: Sequence[str]
    labelled: bool
    labels: Tensor
    classes: dict[Kind, Tensor]
    accuracy: RobustAccuracy
    adapter: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns one JSON document; `images` in the order of the files."""
        rows = [
            {
                "file": file,
                "label": self._name(self.labels, index) if self.labelled else None,
                **{kind: self._name(self.classes[kind], index) for kind in KINDS},
            }
            for index, file in enumerate(self.files)
        ]
        return {
            "backbone": self.backbone,
            "prompt": self.prompt,
            "adapter": self.adapter,
            "epsilon": self.accuracy.epsilon,
            "seed": self.seed,
            "attacks": {
                "non_adaptive": self.accuracy.non_adaptive_attack,
                "adaptive": self.accuracy.adaptive_attack,
            },
            "labelled": self.labelled,
            "accuracy": {kind: asdict(share) for kind, share in self._shares().items()},
            "gradient_masking_suspected": self.accuracy.gradient_masking_suspected,
            "images": rows,
        }

    def as_text(self) -> str:
        """Returns a table with a row for each image, the accuracies, and their meaning."""
        table = [["#", "file", *(["label"] if self.labelled else []), "clean", "non-adaptive", "adaptive"]]
        table.append(["---"] * len(table[0]))
        for index, file in enumerate(self.files):
            label = [self._name(self.labels, index)] if self.labelled else []
            table.append([str(index + 1), file, *label, *(self._name(self.classes[kind], index) for kind in KINDS)])
        lines = ["| " + " | ".join(cells) + " |" for cells in table]
        attacks = {
            "clean": "no attack",
            "non_adaptive": self.accuracy.non_adaptive_attack,
            "adaptive": self.accuracy.adaptive_attack,
        }
        encoder = self.backbone if self.adapter is None else f"{self.backbone} with adapter {self.adapter}"
        lines += ["", f"backbone {encoder}, prompt {self.prompt}, epsilon {_in_levels(self.accuracy.epsilon)}"]
        lines += [
            f"{kind.replace('_', '-')}: {_in_words(share)}; {attacks[kind]}" for kind, share in self._shares().items()
        ]
        lines += [] if self.labelled else [_UNLABELLED]
        lines += [_MASKED] if self.accuracy.gradient_masking_suspected else []
        same = self.accuracy.non_adaptive_attack == self.accuracy.adaptive_attack
        return "".join(f"{line}\n" for line in [*lines, *((_ONE_ATTACK, *NOTES[1:]) if same else NOTES)])

    def _shares(self) -> dict[Kind, Share]:
        accuracy = self.accuracy
        return {"clean": accuracy.clean, "non_adaptive": accuracy.non_adaptive, "adaptive": accuracy.adaptive}

    def _name(self, indices: Tensor, image: int) -> str:
        index = int(indices[image])
        return self.class_names[index] if index >= 0 else "invalid"


def _in_words(share: Share) -> str:
    low, high = 100 * share.low, 100 * share.high
    return f"{100 * share.value:.1f}% correct ({share.hits} of {share.images}; 95% interval {low:.1f} to {high:.1f})"


def _in_levels(epsilon: float) -> str:
    return f"{255 * epsilon:.4g}/255"
