"""What an engine chooses by a measurement of its device: memory format and batch size, by a device that is made up."""

import pytest
import torch

from certrad.models.backbones.base import Backbone
from certrad.models.backbones.probe import MARGIN, SMALLEST_BATCH, batch_that_fits, is_faster_in_channels_last
from tests.support import tiny_clip
from tests.support.made_up_device import MadeUpDevice


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(("ratio", "chosen"), [(1.0, False), (MARGIN - 0.001, False), (MARGIN, True), (2.0, True)])
def test_channels_last_is_chosen_where_it_is_faster_by_the_margin(
    backbone: Backbone, ratio: float, chosen: bool
) -> None:
    assert is_faster_in_channels_last(backbone, 4, MadeUpDevice(ratio=ratio)) is chosen


@pytest.mark.parametrize(
    ("free", "size"),
    [(2 * 256 * 1000, 256), (2 * 256 * 1000 - 1, 128), (2 * 40 * 1000, 32), (0, SMALLEST_BATCH), (10**12, 256)],
)
def test_a_batch_is_halved_until_it_has_its_share_of_the_free_memory(backbone: Backbone, free: int, size: int) -> None:
    assert batch_that_fits(backbone, 256, MadeUpDevice(free=free)) == size


def test_both_memory_formats_have_the_same_weights_and_their_own_layout(backbone: Backbone) -> None:
    other = backbone.in_memory_format(channels_last=True)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(other.encode_image(pixels), backbone.encode_image(pixels))
    weights = [each for each in other.image_tower.parameters() if each.ndim == 4]
    assert weights
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in weights)
    assert all(each.is_contiguous() for each in backbone.image_tower.parameters())
    back = other.in_memory_format(channels_last=False)
    assert all(each.is_contiguous() for each in back.image_tower.parameters())


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("given", [torch.contiguous_format, torch.channels_last])
def test_the_image_tower_gets_its_own_layout_whatever_that_of_the_pixels(
    backbone: Backbone, channels_last: bool, given: torch.memory_format
) -> None:
    of = backbone.in_memory_format(channels_last=channels_last)
    seen: list[torch.Tensor] = []
    of.image_tower.register_forward_pre_hook(lambda tower, inputs: seen.extend(inputs))
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    of.encode_normalised(pixels.contiguous(memory_format=given))
    own = torch.channels_last if channels_last else torch.contiguous_format
    assert [each.is_contiguous(memory_format=own) for each in seen] == [True]


def test_a_merged_adapter_keeps_the_memory_format(backbone: Backbone) -> None:
    last = backbone.in_memory_format(channels_last=True)
    assert last.with_image_tower(last.image_tower, None).channels_last
