"""The image tower computed by OpenVINO in bfloat16, which is faster on a CPU than PyTorch's own bfloat16."""

import sys
import warnings
from collections import OrderedDict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import OPENVINO_BFLOAT16
from certrad.models.errors import Rejected

PACKAGE: Final = "openvino"
_COMPILED_MAX: Final = 2
"""Shapes of batches that are kept compiled: each has its own copy of the weights. An engine needs one at a time."""


class OpenVinoTower(nn.Module):
    """An image tower that OpenVINO computes: bfloat16 products of float32 weights, for batches of fixed shapes.

    A batch of a new shape is compiled first, which takes seconds. The same shape and number of threads give the same
    bits. Gradients, which only searches for a change of the label need, are those of the tower in PyTorch and float32.

    Args:
        tower: The image tower in float32 on the CPU, adapters merged.
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self._own = (tower,)  # in a tuple: its weights stay float32 where this module is cast to another dtype
        self._compiled: OrderedDict[tuple[tuple[int, ...], int], Any] = OrderedDict()

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns image features (B, D) in the dtype of the pixels.

        Args:
            pixels: Normalised pixels (B, 3, H, W) on the CPU.
        """
        if torch.is_grad_enabled() and pixels.requires_grad:
            features: Tensor = _WithGradient.apply(pixels, self)
            return features
        return self.infer(pixels)

    def infer(self, pixels: Tensor) -> Tensor:
        """Returns the features of `forward` without a gradient.

        Args:
            pixels: See `forward`.
        """
        values = pixels.detach().to(torch.float32).contiguous()
        found = self._of_shape(values)(values.numpy(), share_inputs=True)[0]
        return torch.from_numpy(found).to(pixels.dtype)

    def check(self, side: int) -> None:
        """Compiles the tower for one image and computes its features, and keeps nothing.

        Args:
            side: Side of the image in pixels.

        Raises:
            Exception: OpenVINO does not take the tower; it has no list of what it raises.
        """
        self.infer(torch.zeros((1, 3, side, side)))
        self._compiled.clear()

    def gradient(self, pixels: Tensor, of_features: Tensor) -> Tensor:
        """Returns the gradient at the pixels, by the tower in PyTorch and float32.

        Args:
            pixels: See `forward`.
            of_features: The gradient at the features.
        """
        with torch.enable_grad():
            values = pixels.detach().to(torch.float32).requires_grad_()
            (found,) = torch.autograd.grad(self._own[0](values), values, of_features.to(torch.float32))
        return found.to(pixels.dtype)

    def _of_shape(self, values: Tensor) -> Any:  # noqa: ANN401  # OpenVINO is optional, and so are its types
        key = (tuple(values.shape), torch.get_num_threads())
        if key not in self._compiled:
            while len(self._compiled) >= _COMPILED_MAX:
                self._compiled.popitem(last=False)
            self._compiled[key] = _compile(self._own[0], values, threads=key[1])
        self._compiled.move_to_end(key)
        return self._compiled[key]


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, tower: OpenVinoTower) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(pixels)
        ctx.tower = tower
        return tower.infer(pixels)

    @staticmethod
    def backward(ctx: Any, of_features: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (pixels,) = ctx.saved_tensors
        return ctx.tower.gradient(pixels, of_features), None


def in_precision(backbone: Backbone, precision: str) -> Backbone:
    """Returns the backbone as its image tower is computed in a precision, and checks that it can be.

    Args:
        backbone: The backbone, loaded in `loading_dtype(precision)`, with any adapter merged.
        precision: The name of the precision.

    Raises:
        Rejected: dtype_unavailable, if OpenVINO is not here or does not take this image tower.
    """
    if precision != OPENVINO_BFLOAT16:
        return backbone
    require_openvino(backbone.device)
    tower = OpenVinoTower(backbone.image_tower)
    side = backbone.image_size
    try:
        tower.check(side)
    except Rejected:
        raise
    except Exception as error:  # OpenVINO has no list of what it raises
        found = f"{backbone.card.id!r}: {type(error).__name__}"
        raise Rejected("dtype_unavailable", f"OpenVINO does not take the image tower of {found}") from error
    return backbone.with_image_tower(tower, adapter=backbone.adapter, dtype=torch.bfloat16, precision=precision)


def require_openvino(device: torch.device) -> None:
    """Checks that OpenVINO is installed and multiplies bfloat16 in hardware.

    Args:
        device: The device of the image tower.

    Raises:
        Rejected: dtype_unavailable.
    """
    if device.type != "cpu":
        raise Rejected("dtype_unavailable", f"{OPENVINO_BFLOAT16} is a precision of the CPU; the device is {device}")
    try:
        capabilities = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except ImportError:
        raise Rejected(
            "dtype_unavailable", f"{OPENVINO_BFLOAT16} needs OpenVINO: pip install 'certrad[openvino]'"
        ) from None
    if "BF16" not in capabilities:
        raise Rejected("dtype_unavailable", f"{OPENVINO_BFLOAT16} needs a CPU that multiplies bfloat16 in hardware")


def encoder_software(precision: str) -> dict[str, str]:
    """Returns name and version of the package that computes image towers in a precision, beside PyTorch.

    Args:
        precision: The name of the precision.

    Returns:
        Name -> version; "none" for a package that is not installed.
    """
    if precision != OPENVINO_BFLOAT16:
        return {}
    try:
        return {PACKAGE: version(PACKAGE)}
    except PackageNotFoundError:
        return {PACKAGE: "none"}


def _openvino() -> ModuleType:
    """Returns the package, imported without its telemetry, which would report each conversion to a host outside."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes the import fail
    return import_module(PACKAGE)


def _compile(tower: nn.Module, values: Tensor, *, threads: int) -> Any:  # noqa: ANN401
    openvino = _openvino()
    decoders = import_module("openvino.frontend.pytorch.ts_decoder")
    frontend = import_module("openvino.frontend").FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing: shapes become constants, which they are here
        decoder = decoders.TorchScriptPythonDecoder(tower, example_input=values)  # must outlive the conversion
        model = frontend.convert(frontend.load(decoder))
    model.reshape({model.input(0): openvino.PartialShape(list(values.shape))})
    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # two engines of a machine would take the same cores
        },
    )
    if compiled.get_property("INFERENCE_PRECISION_HINT") != openvino.Type.bf16:
        raise Rejected("dtype_unavailable", f"OpenVINO would not compute in bfloat16, as {OPENVINO_BFLOAT16} says")
    return compiled
