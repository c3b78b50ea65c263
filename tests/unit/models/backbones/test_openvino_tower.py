"""The image tower computed by OpenVINO: near the tower in float32, the same bits each time, or refused with a code."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from certrad.models.adapters.adapter import adapted
from certrad.models.backbones import openvino_tower
from certrad.models.backbones.base import Backbone, load_backbone
from certrad.models.backbones.device import OPENVINO_BFLOAT16, loading_dtype
from certrad.models.backbones.openvino_tower import OpenVinoTower, encoder_software, in_precision, require_openvino
from certrad.models.errors import Rejected
from tests.support import bert_models, tiny_clip
from tests.support.adapters import random_adapter
from tests.support.openvino import requires_openvino


def open_clip(directory: Path) -> Backbone:
    return tiny_clip.tiny_backbone(directory)


def hf_clip(directory: Path) -> Backbone:
    tiny_clip.write_hf_clip(directory)
    return load_backbone(tiny_clip.card("hf_clip"), directory)


def medclip(directory: Path) -> Backbone:
    return bert_models.tiny_backbone("medclip", directory)


def biomedclip(directory: Path) -> Backbone:
    return bert_models.tiny_backbone("biomedclip", directory)


def pixels_of(backbone: Backbone, number: int = 5) -> Tensor:
    side = backbone.image_size
    return torch.rand((number, 3, side, side), generator=torch.Generator().manual_seed(1))


def features(backbone: Backbone, pixels: Tensor) -> Tensor:
    with torch.inference_mode():
        return backbone.encode_image(pixels).to(torch.float32)


@requires_openvino
@pytest.mark.parametrize("written", [open_clip, hf_clip, medclip, biomedclip])
def test_every_architecture_has_the_features_of_float32(written: Callable[[Path], Backbone], tmp_path: Path) -> None:
    backbone = written(tmp_path)
    served, pixels = in_precision(backbone, OPENVINO_BFLOAT16), pixels_of(backbone)
    cosines = F.cosine_similarity(features(served, pixels), features(backbone, pixels))
    assert 0.999 < float(cosines.min()) < 1.0 + 1e-5
    assert not torch.equal(features(served, pixels), features(backbone, pixels))
    assert (served.precision, served.dtype) == ("openvino-bfloat16", torch.bfloat16)


@requires_openvino
def test_an_adapter_is_merged_before_the_tower_is_converted(tmp_path: Path) -> None:
    frozen = open_clip(tmp_path)
    changed = adapted(frozen, random_adapter(frozen))
    served, pixels = in_precision(changed, OPENVINO_BFLOAT16), pixels_of(frozen)
    assert served.adapter == changed.adapter is not None
    to_adapted, to_frozen = (
        float(F.cosine_similarity(features(served, pixels), features(own, pixels)).min()) for own in (changed, frozen)
    )
    assert to_adapted > 0.999 > to_frozen


_DIGEST = """
import hashlib, sys, torch
from certrad.bench.common.architectures import random_clip
from certrad.models.backbones.openvino_tower import OpenVinoTower
from certrad.models.shipped import shipped_backbones
torch.set_num_threads(int(sys.argv[1]))
card = shipped_backbones()["demo"]
pixels = torch.randn((16, 3, card.image_size, card.image_size), generator=torch.Generator().manual_seed(0))
tower = OpenVinoTower(random_clip(card).visual)
with torch.inference_mode():
    for _ in range(2):
        print(hashlib.sha256(tower(pixels).numpy().tobytes()).hexdigest())
"""


def bits(threads: int) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", _DIGEST, str(threads)], capture_output=True, text=True, check=True, timeout=300
    )
    return ran.stdout.split()


@requires_openvino
def test_bits_are_those_of_every_run_process_and_number_of_threads() -> None:
    found = bits(1) + bits(1) + bits(2)
    assert len(found) == 6
    assert len(set(found)) == 1


@requires_openvino
def test_a_row_has_the_bits_that_it_has_beside_other_rows(tmp_path: Path) -> None:
    backbone = open_clip(tmp_path)
    served, pixels = in_precision(backbone, OPENVINO_BFLOAT16), pixels_of(backbone, 8)
    other = torch.cat((pixels[:3], torch.ones_like(pixels[3:])))
    assert torch.equal(features(served, pixels)[:3], features(served, other)[:3])


@requires_openvino
def test_gradients_are_those_of_the_tower_in_float32(tmp_path: Path) -> None:
    backbone = open_clip(tmp_path)
    tower, pixels = OpenVinoTower(backbone.image_tower), pixels_of(backbone).requires_grad_()
    (found,) = torch.autograd.grad(tower(pixels).sum(), pixels)
    (expected,) = torch.autograd.grad(backbone.image_tower(pixels).sum(), pixels)
    assert float(expected.abs().max()) > 0
    assert torch.equal(found, expected)


@requires_openvino
def test_gradients_reach_pixels_through_the_backbone_that_is_served(tmp_path: Path) -> None:
    backbone = open_clip(tmp_path)
    pixels = pixels_of(backbone).requires_grad_()
    served = in_precision(backbone, OPENVINO_BFLOAT16)
    (found,) = torch.autograd.grad(served.encode_image(pixels).to(torch.float32).sum(), pixels)
    (expected,) = torch.autograd.grad(backbone.encode_image(pixels).sum(), pixels)
    assert float(F.cosine_similarity(found.flatten(), expected.flatten(), dim=0)) > 0.99


@requires_openvino
def test_the_telemetry_package_is_not_imported_even_where_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('telemetry was imported')")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import torch
from certrad.models.backbones.openvino_tower import OpenVinoTower
print(OpenVinoTower(torch.nn.Flatten())(torch.ones(1, 1, 2, 2)).tolist())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[[1.0, 1.0, 1.0, 1.0]]\n", "")


@requires_openvino
def test_a_tower_that_openvino_does_not_take_is_refused(tmp_path: Path) -> None:
    class Strange(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            values: Tensor = torch.linalg.eigvalsh(pixels[:, 0])
            return values

    backbone = open_clip(tmp_path)
    with pytest.raises(Rejected, match="does not take the image tower of 'tiny'") as refused:
        in_precision(backbone.with_image_tower(Strange(), None), OPENVINO_BFLOAT16)
    assert refused.value.code == "dtype_unavailable"


def test_a_machine_without_the_package_is_told_which_extra_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(Rejected, match=r"pip install 'certrad\[openvino\]'") as refused:
        require_openvino(torch.device("cpu"))
    assert refused.value.code == "dtype_unavailable"


def test_a_gpu_is_refused() -> None:
    with pytest.raises(Rejected, match="a precision of the CPU; the device is cuda:0") as refused:
        require_openvino(torch.device("cuda:0"))
    assert refused.value.code == "dtype_unavailable"


def test_a_cpu_that_would_compute_in_float32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    core = SimpleNamespace(get_property=lambda *_: ["FP32", "INT8"])
    monkeypatch.setattr(openvino_tower, "_openvino", lambda: SimpleNamespace(Core=lambda: core))
    with pytest.raises(Rejected, match="needs a CPU that multiplies bfloat16 in hardware") as refused:
        require_openvino(torch.device("cpu"))
    assert refused.value.code == "dtype_unavailable"


def test_other_precisions_leave_the_backbone_and_the_software_as_they_are(tmp_path: Path) -> None:
    backbone = load_backbone(tiny_clip.card("open_clip"), written(tmp_path), dtype=loading_dtype("bfloat16"))
    assert in_precision(backbone, "bfloat16") is backbone
    assert (backbone.precision, encoder_software("bfloat16")) == ("bfloat16", {})


def written(directory: Path) -> Path:
    tiny_clip.write_open_clip(directory)
    return directory
