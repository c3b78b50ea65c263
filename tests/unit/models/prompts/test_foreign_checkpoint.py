"""Foreign prompt checkpoints are imported without running anything in them."""

import io
import os
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.foreign_checkpoint import import_context
from tests.support import tiny_clip

CTX = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)) * 0.02


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pth.tar-50"


class ConstantWarmupScheduler(CosineAnnealingLR):
    """Like Dassl's: a scheduler that keeps its successor, an object, in its state."""

    def __init__(self, optimizer: torch.optim.Optimizer, successor: CosineAnnealingLR) -> None:
        self.successor = successor
        super().__init__(optimizer, 50)


def genuine(backbone: Backbone, ctx: Tensor = CTX, prefix: str = "", half: bool = False) -> dict[str, Any]:
    """Returns what Dassl's trainer saves: the prompt learner, the optimizer and the scheduler."""
    dtype, n_ctx = torch.float16 if half else torch.float32, ctx.shape[-2]
    start = backbone.embed_tokens([backbone.start_token])
    state = OrderedDict(
        {
            f"{prefix}ctx": ctx.to(dtype),
            f"{prefix}token_prefix": start.expand(2, 1, -1).to(dtype),
            f"{prefix}token_suffix": torch.zeros(2, 76 - n_ctx, ctx.shape[-1], dtype=dtype),
        }
    )
    parameter = nn.Parameter(ctx.clone())
    optimizer = torch.optim.SGD([parameter], lr=0.002, momentum=0.9, weight_decay=5e-4)
    scheduler = ConstantWarmupScheduler(optimizer, CosineAnnealingLR(optimizer, 50))
    parameter.sum().backward()  # type: ignore[no-untyped-call]  # torch has no types for it
    optimizer.step()
    return {
        "state_dict": state,
        "epoch": 50,
        "optimizer": optimizer.state_dict(),
        "scheduler": {key: value for key, value in vars(scheduler).items() if key != "optimizer"},
        "val_result": 81.2,
    }


def refusal(path: Path, backbone: Backbone) -> str:
    with pytest.raises(Rejected) as caught:
        import_context(path, backbone, 2, position="end")
    return caught.value.code


def test_torch_itself_refuses_the_genuine_file(backbone: Backbone, path: Path) -> None:
    torch.save(genuine(backbone), path)
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_context_of_a_genuine_file_is_imported(backbone: Backbone, path: Path, zipped: bool) -> None:
    torch.save(genuine(backbone), path, _use_new_zipfile_serialization=zipped)
    context = import_context(path, backbone, 2, position="middle")
    assert torch.equal(context.vectors, CTX)
    assert context.position == "middle"


def test_a_file_of_tensors_only_is_imported(backbone: Backbone, path: Path) -> None:
    torch.save({"state_dict": {"ctx": CTX}}, path)
    assert torch.equal(import_context(path, backbone, 2, position="end").vectors, CTX)


def test_half_precision_vectors_become_float32(backbone: Backbone, path: Path) -> None:
    torch.save(genuine(backbone, half=True), path)
    context = import_context(path, backbone, 2, position="end")
    assert context.vectors.dtype == torch.float32
    assert torch.equal(context.vectors, CTX.half().float())


def test_vectors_saved_as_a_parameter_of_a_parallel_module_are_imported(backbone: Backbone, path: Path) -> None:
    checkpoint = genuine(backbone, prefix="module.")
    checkpoint["state_dict"]["module.ctx"] = nn.Parameter(CTX)
    torch.save(checkpoint, path)
    context = import_context(path, backbone, 2, position="end")
    assert torch.equal(context.vectors, CTX)
    assert not context.vectors.requires_grad


def test_class_specific_vectors_are_imported(backbone: Backbone, path: Path) -> None:
    ctx = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    torch.save(genuine(backbone, ctx), path)
    assert torch.equal(import_context(path, backbone, 2, position="end").vectors, ctx)


@pytest.mark.parametrize("ctx", [CTX, CTX.expand(2, 5, 32)], ids=["shared", "class-specific"])
def test_a_checkpoint_of_another_number_of_classes_is_a_mismatch(backbone: Backbone, path: Path, ctx: Tensor) -> None:
    torch.save(genuine(backbone, ctx), path)
    with pytest.raises(Rejected, match=r".* must have 3 classes; got 2") as caught:
        import_context(path, backbone, 3, position="end")
    assert caught.value.code == "prompt_mismatch"


class Command:
    """Runs a shell command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("place", ["beside", "as ctx", "as state_dict", "as checkpoint"])
def test_code_in_the_file_does_not_run(
    backbone: Backbone, path: Path, tmp_path: Path, zipped: bool, place: str
) -> None:
    command = Command(f"touch {tmp_path / 'ran'}")
    checkpoint: Any = genuine(backbone)
    if place == "beside":
        checkpoint["scheduler"] = command
    elif place == "as ctx":
        checkpoint["state_dict"]["ctx"] = command
    elif place == "as state_dict":
        checkpoint["state_dict"] = command
    else:
        checkpoint = command
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    if place == "beside":
        assert torch.equal(import_context(path, backbone, 2, position="end").vectors, CTX)
    else:
        assert refusal(path, backbone) == "invalid_checkpoint"
    assert not (tmp_path / "ran").exists()


def test_a_torchscript_archive_is_refused_unread(
    backbone: Backbone, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    monkeypatch.setattr(torch.jit, "load", lambda *arguments, **_: read.append(arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript itself is deprecated
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
        path.write_bytes(buffer.getvalue())
        assert refusal(path, backbone) == "invalid_checkpoint"
    assert not read


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"certainly no pickle", b"\x80\x02."])
def test_a_file_of_anything_else_is_refused(backbone: Backbone, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path, backbone) == "invalid_checkpoint"


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"ctx": [1.0, 2.0]},
        {"ctx": torch.zeros(32)},
        {"ctx": torch.zeros(5, 32, dtype=torch.int64)},
        {"ctx": torch.full((5, 32), float("nan"))},
        {"ctx": CTX, "other.ctx": CTX},
    ],
    ids=["nothing", "a list", "one dimension", "integers", "NaN", "twice"],
)
def test_a_checkpoint_without_proper_vectors_is_refused(backbone: Backbone, path: Path, state: dict[str, Any]) -> None:
    torch.save({"state_dict": state}, path)
    assert refusal(path, backbone) == "invalid_checkpoint"


@pytest.mark.parametrize(
    "other",
    [
        ["prompt_learner.meta_net.linear1.weight", "prompt_learner.meta_net.linear1.bias"],
        ["prompt_learner.compound_prompts_text.0", "prompt_learner.proj.weight"],
        ["image_encoder.transformer.resblocks.1.VPT_shallow", "text_encoder.transformer.resblocks.1.VPT_shallow"],
        ["image_encoder.VPT"],
        ["clip_model.visual.VPT"],
        ["clip_model.prompt_learner.meta_net.weight"],
        ["adapter.fc.0.weight"],
        ["ctx_vis"],
    ],
    ids=["CoCoOp", "MaPLe", "IVLP", "VPT", "VPT in the model", "CoCoOp in the model", "adapter", "visual context"],
)
@pytest.mark.parametrize("prefix", ["", "module.", "prompt_learner."])
def test_a_checkpoint_that_learned_more_than_context_is_refused(
    backbone: Backbone, path: Path, prefix: str, other: list[str]
) -> None:
    checkpoint = genuine(backbone, prefix=prefix)
    checkpoint["state_dict"] |= {name: torch.ones(4, 4) for name in other}
    torch.save(checkpoint, path)
    assert refusal(path, backbone) == "invalid_checkpoint"


def test_what_is_no_tensor_is_not_passed_over(backbone: Backbone, path: Path) -> None:
    checkpoint = genuine(backbone)
    checkpoint["state_dict"]["meta_net"] = torch.optim.SGD([nn.Parameter(CTX)], lr=0.1)
    torch.save(checkpoint, path)
    assert refusal(path, backbone) == "invalid_checkpoint"


def test_a_frozen_backbone_beside_the_vectors_is_passed_over(backbone: Backbone, path: Path) -> None:
    checkpoint = genuine(backbone)
    checkpoint["state_dict"] |= {"medclip_model.text_model.model.embeddings.weight": torch.ones(4, 4)}
    torch.save(checkpoint, path)
    assert torch.equal(import_context(path, backbone, 2, position="end").vectors, CTX)


@pytest.mark.parametrize("stored", ["bfloat16", "float32 of bfloat16"])
def test_bfloat16_checkpoints_are_not_of_other_weights(backbone: Backbone, path: Path, stored: str) -> None:
    checkpoint = genuine(backbone)
    state = {key: value.bfloat16() for key, value in checkpoint["state_dict"].items()}
    checkpoint["state_dict"] = state if stored == "bfloat16" else {key: value.float() for key, value in state.items()}
    torch.save(checkpoint, path)
    assert torch.equal(import_context(path, backbone, 2, position="end").vectors, CTX.bfloat16().float())
    checkpoint["state_dict"]["token_prefix"] = checkpoint["state_dict"]["token_prefix"] * 1.05
    torch.save(checkpoint, path)
    assert refusal(path, backbone) == "prompt_mismatch"


@pytest.mark.parametrize("ctx", [torch.zeros(5, 32), torch.cat([CTX[:4], torch.zeros(1, 32)])], ids=["all", "one"])
def test_zero_vectors_are_refused(backbone: Backbone, path: Path, ctx: Tensor) -> None:
    torch.save({"state_dict": {"ctx": ctx}}, path)
    assert refusal(path, backbone) == "invalid_checkpoint"


def test_vectors_of_another_width_are_a_mismatch(backbone: Backbone, path: Path) -> None:
    torch.save({"state_dict": {"ctx": torch.zeros(5, 768)}}, path)
    assert refusal(path, backbone) == "prompt_mismatch"


def test_a_start_token_of_other_weights_is_a_mismatch(backbone: Backbone, path: Path) -> None:
    checkpoint = genuine(backbone)
    checkpoint["state_dict"]["token_prefix"] = checkpoint["state_dict"]["token_prefix"] * 1.05
    torch.save(checkpoint, path)
    assert refusal(path, backbone) == "prompt_mismatch"


def test_a_suffix_for_another_number_of_vectors_is_a_mismatch(backbone: Backbone, path: Path) -> None:
    checkpoint = genuine(backbone)
    checkpoint["state_dict"]["token_suffix"] = torch.zeros(2, 20, 32)
    torch.save(checkpoint, path)
    assert refusal(path, backbone) == "prompt_mismatch"


def test_more_vectors_than_a_prompt_has_places_are_a_mismatch(backbone: Backbone, path: Path) -> None:
    torch.save({"state_dict": {"ctx": torch.zeros(76, 32)}}, path)
    assert refusal(path, backbone) == "prompt_mismatch"
