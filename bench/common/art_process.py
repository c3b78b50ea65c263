"""The Adversarial Robustness Toolbox in a process and an environment of its own, at the other end of a pipe.

Run by `art_environment` with the Python of that environment. Every line read is a request in JSON, every line written
an answer; the first request names the classifier, and its answer the version of the toolbox.
"""

import contextlib
import json
import sys
from base64 import b64decode
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing
from torch import Tensor, nn

from certrad.bench.common.peer_study import ClassifierChoice, Stopwatch
from certrad.models.classifier import VisionLanguageClassifier


class Logits(nn.Module):
    """The base classifier as the module that the toolbox asks for."""

    def __init__(self, classifier: VisionLanguageClassifier) -> None:
        super().__init__()
        self._classifier = classifier

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns logits (B, K) of pixels (B, 3, H, W) of [0, 1]."""
        return self._classifier.logits(pixels)


def main() -> None:
    """Answers requests until the pipe ends."""
    requests = map(json.loads, sys.stdin)
    answers = sys.stdout
    # The pipe belongs to the answers: whatever a library prints would be read as one.
    with contextlib.redirect_stdout(sys.stderr):
        first = next(requests)
        torch.set_num_threads(first["threads"])
        classifier = ClassifierChoice(**first["classifier"]).load()
        _write(answers, {"version": version("adversarial-robustness-toolbox")})
        for request in requests:
            _write(answers, _certify(classifier, request))


def _certify(classifier: VisionLanguageClassifier, request: dict[str, Any]) -> dict[str, Any]:
    smoothed = PyTorchRandomizedSmoothing(
        Logits(classifier),
        loss=None,
        input_shape=classifier.input_shape,
        nb_classes=classifier.n_classes,
        device_type="cpu",
        sample_size=request["n0"],
        scale=request["sigma"],
        alpha=request["alpha"],
    )
    image = np.frombuffer(b64decode(request["image"]), np.float32).reshape(1, *classifier.input_shape)
    np.random.seed(request["seed"])  # the generator that the toolbox draws from
    watch = Stopwatch()
    classes, radii = smoothed.certify(image, n=request["n"], batch_size=request["batch_size"])
    seconds, processor_seconds = watch.read()
    class_index = int(classes[0])
    return {
        "class_index": None if class_index < 0 else class_index,
        "radius": float(radii[0]),
        "samples": request["n0"] + request["n"],
        "seconds": seconds,
        "processor_seconds": processor_seconds,
    }


def _write(answers: Any, document: dict[str, Any]) -> None:  # noqa: ANN401  # a text stream
    answers.write(json.dumps(document) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
