"""A bank of adversarial embeddings (AdvPT) holds those of the attacked images, and prompts are learned on it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from certrad.models.attacks.pgd import PgdParams, attack, embedding_divergence
from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.training.embedding_bank import (
    embedding_bank,
    embedding_bank_features,
    embedding_bank_from_bytes,
    embedding_bank_sha256,
    embedding_bank_to_bytes,
)
from certrad.models.prompts.training.trainer import train_epochs
from certrad.models.prompts.training.tuning import attack_params, trainer_params
from certrad.models.randomness import seeded
from certrad.models.types.tuning import TuningParams
from tests.support import tiny_clip

PARAMS = PgdParams(steps=3)
ADVPT = TuningParams.published("advpt")
NAMES = ["adipose tissue", "mucus"]
LABELS = torch.arange(10) % 2


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def images() -> Tensor:
    noise = torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.3
    return noise + 0.6 * LABELS.view(-1, 1, 1, 1)


def test_a_row_of_the_bank_is_the_embedding_of_the_attacked_image(backbone: Backbone, images: Tensor) -> None:
    bank = embedding_bank(backbone, images, PARAMS, batch_size=4)
    with torch.no_grad():
        clean = backbone.encode_image(images[4:8]).float()
    adversarial = attack(backbone, images[4:8], embedding_divergence(clean), PARAMS, seeded(PARAMS.seed, "bank", 4))
    with torch.no_grad():
        expected = backbone.encode_image(adversarial)
    assert bank.shape == (10, backbone.embed_dim)
    assert torch.equal(bank[4:8], expected)


def test_one_seed_gives_one_bank(backbone: Backbone, images: Tensor) -> None:
    first, second = (embedding_bank(backbone, images, PARAMS, batch_size=4) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, embedding_bank(backbone, images, replace(PARAMS, seed=1), batch_size=4))


def test_the_digest_of_a_bank_tells_weights_images_order_and_attack_apart(images: Tensor) -> None:
    variants = [
        ("a" * 64, images, PARAMS),
        ("b" * 64, images, PARAMS),
        ("a" * 64, images.flip(0), PARAMS),
        ("a" * 64, images[:9], PARAMS),
        ("a" * 64, images, replace(PARAMS, epsilon=4 / 255)),
        ("a" * 64, images, replace(PARAMS, seed=1)),
        ("a" * 64, images, None),
    ]
    assert len({embedding_bank_sha256(*variant) for variant in variants}) == len(variants)


def test_a_bank_survives_its_file(backbone: Backbone, images: Tensor) -> None:
    bank = embedding_bank(backbone, images[:3], PARAMS)
    assert torch.equal(embedding_bank_from_bytes(embedding_bank_to_bytes(bank)), bank)


@pytest.mark.parametrize(
    "content",
    [b"", b"junk" * 9, embedding_bank_to_bytes(torch.zeros(3)), embedding_bank_to_bytes(torch.zeros(2, 2).half())],
)
def test_what_is_no_bank_is_refused(content: bytes) -> None:
    with pytest.raises(Rejected, match="invalid_checkpoint"):
        embedding_bank_from_bytes(content)


def test_tuning_on_the_bank_lowers_the_loss_on_its_rows(backbone: Backbone, images: Tensor) -> None:
    bank = embedding_bank(backbone, images, PARAMS)
    params = replace(trainer_params(ADVPT), epochs=6, batch_size=10, n_ctx=4, lr=0.05)
    losses = [state.loss for state in train_epochs(backbone, embedding_bank_features(bank), LABELS, NAMES, params)]
    assert losses[-1] < losses[0]


def test_the_defaults_are_the_papers() -> None:
    assert (ADVPT.n_ctx, ADVPT.epochs, ADVPT.batch_size, ADVPT.lr, ADVPT.sigmas) == (32, 100, 32, 0.005, ())
    assert (attack_params(ADVPT).epsilon, attack_params(ADVPT).steps) == (8 / 255, 10)
