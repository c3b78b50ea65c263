"""Counts recomputed from a certificate document and the image, in one process, without queue, ledger or service."""

from typing import Any

import torch

from certrad.bench.common.classifier import with_adapter
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.prompts.context import template_features
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing import certify
from certrad.models.types import (
    CertifyRequest,
    ClassifierSpec,
    FixedSigma,
    LabelCounts,
    SamplingParams,
)
from certrad.workers.intake.decode import decode_limited
from certrad.workers.settings import WorkerSettings


class Offline:
    """Recomputes certificates of one image made with a hand-written template."""

    def __init__(self, image: bytes) -> None:
        self._image = image
        self._known: dict[str, LabelCounts] = {}

    def estimation(self, document: dict[str, Any]) -> LabelCounts:
        """The counts of the estimation samples that the revealed key stands for."""
        key: str = document["noise"]["key"]
        if key not in self._known:
            self._known[key] = self._recompute(document)
        return self._known[key]

    def _recompute(self, document: dict[str, Any]) -> LabelCounts:
        tower, *adapters, text = document["classifier"]["parts"]
        arithmetic, params = document["classifier"]["arithmetic"], document["params"]
        spec = ClassifierSpec(
            backbone=tower["backbone"],
            prompt="template",
            class_names=tuple(document["classifier"]["class_names"]),
            template=text["template"],
        )
        request = CertifyRequest(
            classifier=spec,
            sigma=FixedSigma(float(params["sigma"])),
            params=SamplingParams(n0=int(params["n0"]), n=int(params["n"])),
        )
        card = shipped_backbones()[spec.backbone]
        model_input, _ = decode_limited(self._image, request, card, WorkerSettings())
        threads = torch.get_num_threads()
        torch.set_num_threads(int(arithmetic["threads"]))
        try:
            frozen = load_backbone(
                card,
                weights_directory(card, WorkerSettings().backbones_dir),
                device=torch.device(arithmetic["device"]),
                dtype=getattr(torch, tower["dtype"]),
            )
            backbone = with_adapter(frozen, adapters[0]["adapter"] if adapters else None)
            features = template_features(backbone, spec.class_names, spec.template)
            return certify(
                model_input.pixels,
                VisionLanguageClassifier(backbone, features),
                request.params.at(request.sigma.first),
                key=bytes.fromhex(document["noise"]["key"]),
                law=document["noise"]["law"],
                batch_size=int(arithmetic["block_size"]),
            ).estimation.counts
        finally:
            torch.set_num_threads(threads)


def estimation_counts(document: dict[str, Any]) -> LabelCounts:
    """The counts a document states."""
    stated = document["estimation"]
    return LabelCounts(per_class=tuple(map(int, stated["per_class"])), invalid=int(stated["invalid"]))
