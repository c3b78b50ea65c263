"""Import of `model.pth.tar-*` files of CoOp, PromptSmooth and AdvPT without running anything in them.

Besides the tensors, genuine files hold a pickled scheduler object, so torch's own safe mode refuses them. A second
attempt then reads the pickle with every unknown class replaced by an inert one.
"""

import io
import pickle
import re
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.context import ContextVectors
from certrad.models.types.cards import ContextPosition

HALF_PRECISION: Final = 2.0**-10
"""Relative tolerance for embeddings that were stored in float16."""

_PROMPT: Final = {"ctx", "token_prefix", "token_suffix"}
# MedCLIP's prompt learner holds its frozen backbone, and so stores it.
_FROZEN_BACKBONE: Final = re.compile(
    r"(?:\w+\.)*\w*clip_model\.(?!.*(?:prompt|vpt|meta_net|adapter)).+", flags=re.IGNORECASE
)


def import_context(path: Path, backbone: Backbone, n_classes: int, *, position: ContextPosition) -> ContextVectors:
    """Returns the context vectors of a foreign checkpoint, float32; nothing else in it is used.

    Args:
        path: the file.
        backbone: the backbone that the vectors are for.
        n_classes: K.
        position: the position of the class name; the file does not state it.

    Raises:
        Rejected: invalid_checkpoint, or prompt_mismatch if the width, the length or the stored embedding of the start
            token show that it was tuned with another backbone, or any tensor that it was tuned for another number of
            classes.
    """
    tensors = prompt_tensors(read_untrusted(path.read_bytes()))
    vectors = tensors["ctx"]
    if vectors.ndim not in (2, 3) or not vectors.is_floating_point() or not bool(vectors.isfinite().all()):
        raise Rejected(
            "invalid_checkpoint",
            f"ctx must be finite, of shape (M, d) or (K, M, d); got {vectors.dtype} {tuple(vectors.shape)}",
        )
    n_ctx, width = vectors.shape[-2:]
    if width != backbone.text_width:
        raise Rejected("prompt_mismatch", f"ctx has width {width}, {backbone.card.id!r} needs {backbone.text_width}")
    _check_classes(tensors, n_classes)
    _check_length(n_ctx, tensors.get("token_suffix"), backbone)
    _check_start_token(tensors.get("token_prefix"), backbone)
    if not bool(vectors.float().norm(dim=-1).gt(0).all()):
        raise Rejected("invalid_checkpoint", "a context vector is zero: nothing was learned, or it was lost")
    return ContextVectors(vectors=vectors.detach().float().clone(), position=position)


def prompt_tensors(checkpoint: object) -> dict[str, Tensor]:
    """Returns `ctx` and, where stored, `token_prefix` and `token_suffix` of a checkpoint.

    Prefixes like `module.` are removed from the names. Other methods store a `ctx` too, beside what else they learned:
    networks that change it for each image (CoCoOp), prompts in deeper layers (MaPLe) or in the image encoder (VPT).
    Their `ctx` alone is another classifier.

    Raises:
        Rejected: invalid_checkpoint without a state_dict or `ctx`, with one of the tensors more than once, or with
            anything else that was learned.
    """
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise Rejected("invalid_checkpoint", "there is no state_dict in the checkpoint")
    prompt: dict[str, Tensor] = {}
    foreign: list[str] = []
    for key, value in state.items():
        name = str(key).rpartition(".")[2]
        if name in _PROMPT and isinstance(value, Tensor):
            if name in prompt:
                raise Rejected("invalid_checkpoint", f"{name} is in the checkpoint more than once")
            prompt[name] = value
        elif not _FROZEN_BACKBONE.fullmatch(str(key)):
            foreign.append(str(key))
    if "ctx" not in prompt:
        raise Rejected("invalid_checkpoint", "there is no tensor ctx in the state_dict of the checkpoint")
    if foreign:
        raise Rejected(
            "invalid_checkpoint",
            f"only context vectors can be imported; this checkpoint learned {len(foreign)} other tensors, "
            f"for example {_shown(foreign[0])}",
        )
    return prompt


def _shown(key: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in key[:80])


def read_untrusted(content: bytes) -> object:
    """Returns the tensors and containers in a file of `torch.save`, with inert objects in place of everything else.

    Raises:
        Rejected: invalid_checkpoint.
    """
    # From memory, not by path: torch would treat tar archives and other file names in ways of their own.
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the file decides which error is raised
        refusal = error
    # Any other error, as that for a TorchScript archive, does not come from the pickle's classes.
    if not isinstance(refusal, pickle.UnpicklingError):
        raise Rejected(
            "invalid_checkpoint", f"the content is not a file of torch.save: {type(refusal).__name__}"
        ) from refusal
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False, pickle_module=_INERT_PICKLE)
    except Exception as error:
        raise Rejected("invalid_checkpoint", f"the pickle cannot be read: {type(error).__name__}") from error


class _Inert:
    """Replaces every class and function that is not allowed: accepts whatever a pickle does to it, does nothing."""

    def __new__(cls, *_args: object, **_kwargs: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def _ignore(self, *_args: object) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = _ignore


class _InertUnpickler(pickle.Unpickler):
    # Storages never get here: torch resolves their names itself.
    ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {  # noqa: RUF012
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    }

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        return self.ALLOWED.get((module, name), _Inert)


def _inert_load(file: io.BytesIO, **options: Any) -> object:  # noqa: ANN401  # the options of pickle.load
    return _InertUnpickler(file, **options).load()


_INERT_PICKLE: Any = types.ModuleType("inert_pickle", "The parts of a pickle module that torch needs.")
_INERT_PICKLE.Unpickler = _InertUnpickler
_INERT_PICKLE.load = _inert_load


def _check_classes(tensors: dict[str, Tensor], n_classes: int) -> None:
    """Checks that what CoOp stores beside the vectors has a row for each class; shared vectors do not state K.

    Raises:
        Rejected: prompt_mismatch for another number of classes.
    """
    for name, tensor in tensors.items():
        if tensor.ndim == 3 and len(tensor) != n_classes:
            raise Rejected("prompt_mismatch", f"{name} must have {n_classes} classes; got {len(tensor)}")


def _check_length(n_ctx: int, suffix: Tensor | None, backbone: Backbone) -> None:
    if n_ctx + 2 > backbone.context_length:
        raise Rejected("prompt_mismatch", f"{n_ctx} context vectors do not fit {backbone.context_length} tokens")
    if suffix is not None and (suffix.ndim != 3 or 1 + n_ctx + suffix.shape[1] != backbone.context_length):
        raise Rejected(
            "prompt_mismatch",
            f"token_suffix must have {backbone.context_length - 1 - n_ctx} tokens; got the shape {tuple(suffix.shape)}",
        )


def _check_start_token(prefix: Tensor | None, backbone: Backbone) -> None:
    if prefix is None:
        return
    start = backbone.embed_tokens([backbone.start_token]).cpu()
    if prefix.ndim != 3 or prefix.shape[1:] != start.shape:
        raise Rejected("prompt_mismatch", f"token_prefix must have the shape (K, 1, d); got {tuple(prefix.shape)}")
    if not torch.allclose(prefix.float(), start.expand(prefix.shape), rtol=_precision(prefix), atol=1e-6):
        raise Rejected("prompt_mismatch", f"token_prefix is not the start token of {backbone.card.id!r}: other weights")


def _precision(stored: Tensor) -> float:
    """The relative precision embeddings were stored in, also where they were made float32 later."""
    if torch.equal(stored.bfloat16().float(), stored.float()):
        return float(torch.finfo(torch.bfloat16).eps)
    return HALF_PRECISION
