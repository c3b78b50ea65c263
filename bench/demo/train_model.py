"""Trains the embedded demonstration model: a small CLIP on clean MedNIST images and composed captions.

    python -m certrad.bench.demo.train_model --data mednist.zip --checkpoints /tmp/demo

Every epoch draws its randomness from (seed, epoch) alone, so a resumed run goes on as if it had never stopped.
Resuming a finished run with other options is a warm restart of the learning rate; the card lists the options of every
leg. Copies of the checkpoints of earlier legs can be averaged into the last one (--average-with).
"""

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from open_clip.model import CLIP
from torch import Tensor

from certrad.bench.common.mednist import LabelledImages, read_split
from certrad.bench.demo.augmentation import AugmentationConfig, augment
from certrad.bench.demo.captions import CaptionConfig, compose, matches, measure_facts
from certrad.bench.demo.contrastive import contrastive_loss, encode_images, encode_texts, tokenize
from certrad.bench.demo.files import CARD, CONFIG, read_weights, write_json, write_weights
from certrad.models.files import replacement
from certrad.models.shipped import shipped_tasks

TASK: Final = "mednist"
TEMPLATE: Final = "a medical image of {}."
MODEL_CFG: Final[dict[str, Any]] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 7, "width": 128, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
}
PREPROCESS_CFG: Final[dict[str, Any]] = {
    "mean": [0.35, 0.35, 0.35],
    "std": [0.28, 0.28, 0.28],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}

GENTLE: Final = AugmentationConfig(
    smallest_zoom=0.9, largest_tilt=5.0, turned_share=0.0, gamma=0.15, contrast=0.15, brightness=0.05
)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the weights, beside the data."""

    epochs: int = 5
    seed: int = 0
    batch_size: int = 128
    lr: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.1
    patch_dropout: float = 0.5
    """Share of the patches that the image tower does not see in a training step, which halves its cost."""
    first_logit_scale: float = 40.0
    largest_logit_scale: float = 100.0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    gentle_epochs: int = 0
    """Epochs at the end in which images are changed little, so that the model meets them as they are."""
    gentle_augmentation: AugmentationConfig = field(default_factory=lambda: GENTLE)
    captions: CaptionConfig = field(default_factory=CaptionConfig)


def build_model(config: TrainingConfig) -> CLIP:
    """Returns the untrained model.

    The patch filters start equal in red, green and blue: grey images would never train a difference between them, and
    it would stay for ever what it was drawn as. The token and position tables keep their initial draw: words that no
    caption uses, and learned context vectors, then live on the same scale as the words of the captions.
    """
    torch.manual_seed(config.seed)
    vision_cfg = {**MODEL_CFG["vision_cfg"], "patch_dropout": config.patch_dropout}
    model = CLIP(**{**MODEL_CFG, "vision_cfg": vision_cfg}, init_logit_scale=math.log(config.first_logit_scale))
    filters = model.visual.conv1.weight
    with torch.no_grad():
        filters.copy_(filters.mean(dim=1, keepdim=True).expand_as(filters))
    model.token_embedding.weight.requires_grad_(False)
    model.positional_embedding.requires_grad_(False)
    return model


def build_optimizer(model: CLIP, config: TrainingConfig) -> torch.optim.AdamW:
    """Returns AdamW with decay on matrices only."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim >= 2]
    others = [parameter for parameter in trained if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))


def learning_rate(step: int, steps: int, config: TrainingConfig) -> float:
    """Returns the rate of one step: linear warm-up, then half a cosine down to zero."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def to_model_input(grey: Tensor) -> Tensor:
    """Returns grey images in [0,1], shape (n, 1, h, w), as normalised RGB."""
    mean = torch.tensor(PREPROCESS_CFG["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(PREPROCESS_CFG["std"]).view(1, 3, 1, 1)
    normalised: Tensor = (grey - mean) / std
    return normalised


def train_epoch(
    model: CLIP, optimizer: torch.optim.Optimizer, data: LabelledImages, config: TrainingConfig, epoch: int
) -> Iterator[tuple[int, float]]:
    """Trains for one epoch and yields (step within the epoch, loss) after every step."""
    model.train()
    # The patch dropout of open_clip knows no other generator than the global one.
    generator = torch.manual_seed(config.seed * 10_000 + epoch)
    rng = random.Random(config.seed * 10_000 + epoch)
    pixels, labels = torch.from_numpy(data.pixels), torch.from_numpy(data.labels)
    batches = torch.split(torch.randperm(len(data), generator=generator), config.batch_size)
    steps = len(batches) * config.epochs
    gentle = epoch >= config.epochs - config.gentle_epochs
    augmentation = config.gentle_augmentation if gentle else config.augmentation
    for step, indices in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(epoch * len(batches) + step, steps, config)
        batch = augment(pixels[indices].unsqueeze(1) / 255, augmentation, generator)
        facts = measure_facts(batch, labels[indices])
        captions = [compose(row, config.captions, rng) for row in facts.tolist()]
        texts = encode_texts(model, tokenize([caption.text for caption in captions]))
        images = encode_images(model, to_model_input(batch.images))
        loss = contrastive_loss(model.logit_scale.exp() * texts @ images.T, matches(captions, facts))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(config.largest_logit_scale))
        yield step, loss.item()


@torch.inference_mode()
def template_accuracy(model: CLIP, data: LabelledImages) -> float:
    """Returns the share of clean images whose own class name, in the template, is the most similar."""
    model.eval()
    texts = encode_texts(model, tokenize([TEMPLATE.format(name) for name in shipped_tasks()[TASK].class_names]))
    correct = 0
    for indices in torch.split(torch.arange(len(data)), 256):
        grey = torch.from_numpy(data.pixels[indices.numpy()]).unsqueeze(1) / 255
        predicted = (encode_images(model, to_model_input(grey)) @ texts.T).argmax(dim=1)
        correct += int((predicted == torch.from_numpy(data.labels[indices.numpy()])).sum())
    return correct / len(data)


@dataclass(frozen=True)
class Progress:
    """The progress of a training, and the options of every run that led there."""

    epochs_done: int = 0
    legs: tuple[str, ...] = ()

    def start_leg(self, config: TrainingConfig) -> "Progress":
        """Returns the progress with the options of the run that starts; going on with the same is no new leg."""
        options = f"--epochs {config.epochs} --lr {config.lr} --patch-dropout {config.patch_dropout}"
        leg = f"{options} --gentle-epochs {config.gentle_epochs}"
        return self if self.legs[-1:] == (leg,) else replace(self, legs=(*self.legs, leg))


def save_checkpoint(path: Path, model: CLIP, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Store what a resumed run needs, so that a kill at any moment leaves the old file or the new one."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    with replacement(path, private=False) as file:
        torch.save(state, file)


def load_checkpoint(path: Path, model: CLIP, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore model and optimizer and return how far they have come."""
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(state["progress"]["epochs_done"], tuple(state["progress"]["legs"]))


def train(
    model: CLIP,
    train_images: LabelledImages,
    test_images: LabelledImages,
    config: TrainingConfig,
    checkpoint: Path,
    resume: bool,
) -> Progress:
    """Trains to the last epoch, with a line of progress and a checkpoint after each."""
    optimizer = build_optimizer(model, config)
    progress = load_checkpoint(checkpoint, model, optimizer) if resume else Progress()
    progress = progress.start_leg(config)
    for epoch in range(progress.epochs_done, config.epochs):
        started = time.monotonic()
        losses = []
        for step, loss in train_epoch(model, optimizer, train_images, config, epoch):
            losses.append(loss)
            if step % 20 == 19:
                print(f"epoch {epoch + 1} step {step + 1} loss {sum(losses[-20:]) / 20:.4f}", flush=True)
        progress = replace(progress, epochs_done=epoch + 1)
        save_checkpoint(checkpoint, model, optimizer, progress)
        accuracy = template_accuracy(model, test_images)
        summary = f"epoch {epoch + 1}/{config.epochs} loss {sum(losses) / len(losses):.4f} clean {accuracy:.4f}"
        print(f"{summary} in {time.monotonic() - started:.0f} s", flush=True)
    return progress


def card(
    config: TrainingConfig, progress: Progress, accuracy: float, test_images: int, sha256: str
) -> dict[str, object]:
    """Returns what a reader must know before using the weights."""
    return {
        "id": "demo",
        "purpose": "demonstration of certrad on a laptop CPU; not a medical device, not for clinical use",
        "architecture": "open_clip CLIP, see open_clip_config.json",
        "weights": {"dtype": "float16", "computed_in": "float32", "sha256": sha256},
        "data": {
            "name": "MedNIST",
            "source": "gathered from TCIA, the RSNA Bone Age Challenge and the NIH Chest X-ray data set",
            "prepared_by": "Dr. B. J. Erickson, Mayo Clinic",
            "licence": "CC BY-SA 4.0",
            "classes": list(shipped_tasks()[TASK].class_names),
        },
        "training": {
            "command": "python -m certrad.bench.demo.train_model",
            "noise": "none: clean images only",
            "captions": "composed by bench/demo/captions.py",
            **asdict(config),
            **asdict(progress),
        },
        "clean_accuracy": {
            "template": TEMPLATE,
            "split": "test",
            "images": test_images,
            "accuracy": round(accuracy, 6),
        },
    }


def package(model: CLIP, test_images: LabelledImages, config: TrainingConfig, progress: Progress, out: Path) -> float:
    """Writes weights, configuration and card, and returns the clean accuracy of the weights as stored."""
    out.mkdir(parents=True, exist_ok=True)
    sha256 = write_weights(out, model)
    model.load_state_dict(read_weights(out))
    accuracy = template_accuracy(model, test_images)
    write_json(out / CONFIG, {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG})
    write_json(out / CARD, card(config, progress, accuracy, len(test_images), sha256))
    return accuracy


def main() -> None:
    """Train, or go on training, and write the files of the demonstration model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--checkpoints", type=Path, required=True, help="scratch folder, not in the repository")
    parser.add_argument("--out", type=Path, default=Path("models/demo"))
    parser.add_argument("--epochs", type=int, default=TrainingConfig.epochs)
    parser.add_argument("--lr", type=float, default=TrainingConfig.lr)
    parser.add_argument("--patch-dropout", type=float, default=TrainingConfig.patch_dropout)
    parser.add_argument("--gentle-epochs", type=int, default=TrainingConfig.gentle_epochs)
    parser.add_argument("--seed", type=int, default=TrainingConfig.seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --checkpoints")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    config = TrainingConfig(
        epochs=arguments.epochs,
        seed=arguments.seed,
        lr=arguments.lr,
        patch_dropout=arguments.patch_dropout,
        gentle_epochs=arguments.gentle_epochs,
    )
    train_images, test_images = read_split(arguments.data, "train"), read_split(arguments.data, "test")
    model = build_model(config)
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.checkpoints / "demo.pt"
    progress = train(model, train_images, test_images, config, checkpoint, arguments.resume)
    accuracy = package(model, test_images, config, progress, arguments.out)
    print(f"clean accuracy of the stored weights: {accuracy:.4f} on {len(test_images)} test images")


if __name__ == "__main__":
    main()
