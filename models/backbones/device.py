"""The device and the precision of an image encoder; a certificate names the precision, part of the classifier."""

from collections.abc import Mapping
from typing import Final

import torch

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The precisions that PyTorch computes, by name."""
OPENVINO_BFLOAT16: Final = "openvino-bfloat16"
"""The precision that OpenVINO computes on a CPU. It is another classifier than `bfloat16`: its sums round otherwise."""
PRECISIONS: Final = (*DTYPES, OPENVINO_BFLOAT16)


def chosen_dtype(name: str, device: torch.device) -> torch.dtype:
    """Returns the dtype of that name; for `auto` bfloat16 where the device multiplies it in hardware, else float32."""
    if name != "auto":
        return DTYPES[name]
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_multiplies_bfloat16()
    return torch.bfloat16 if native else torch.float32


def chosen_precision(name: str, device: torch.device) -> str:
    """Returns the name of a precision; for `auto` that of `chosen_dtype`, so never one that needs another package."""
    return name if name == OPENVINO_BFLOAT16 else dtype_name(chosen_dtype(name, device))


def loading_dtype(precision: str) -> torch.dtype:
    """Returns the dtype that weights are loaded in: that of the precision, or float32, which OpenVINO converts."""
    return torch.float32 if precision == OPENVINO_BFLOAT16 else DTYPES[precision]


def dtype_name(dtype: torch.dtype) -> str:
    """Returns the name of a dtype: `float32`, `bfloat16` or `float16`."""
    return str(dtype).removeprefix("torch.")


def _cpu_multiplies_bfloat16() -> bool:
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def chosen_device(name: str) -> torch.device:
    """Returns the device of that name; for `auto` a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


_LAYOUT: Final = "image_tower_layout"
_CHANNELS_LAST: Final = "channels_last"


def layout_in_software(*, channels_last: bool) -> dict[str, str]:
    """Returns what `software` of a document says about the memory format of the image tower: nothing of the usual one.

    Args:
        channels_last: Whether the channels of a pixel lie side by side.
    """
    return {_LAYOUT: _CHANNELS_LAST} if channels_last else {}


def is_channels_last(software: Mapping[str, str]) -> bool:
    """Returns whether the `software` of a document says that the image tower was in that memory format.

    Args:
        software: Name -> version.
    """
    return software.get(_LAYOUT) == _CHANNELS_LAST
