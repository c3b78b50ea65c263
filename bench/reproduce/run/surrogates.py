"""RAP's surrogate: a ResNet-50 with a head trained on the data set, kept in the folder of results."""

import hashlib
import json
from dataclasses import asdict, dataclass

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from certrad.bench.reproduce.run.materials import Materials, inputs, listing_sha256
from certrad.models.attacks.surrogate import HeadParams, load_resnet50, surrogate, train_head
from certrad.models.defences.purifier import Logits
from certrad.models.files import replace_file
from certrad.models.types import BackboneCard


@dataclass(frozen=True, slots=True)
class TrainedSurrogate:
    """Builds the surrogate in each process.

    sha256: of all that decides its logits. head: its file in the folder `surrogates`; None is ImageNet's own.
    """

    sha256: str
    head: str | None

    def __call__(self, materials: Materials) -> Logits:
        """The logits of the surrogate."""
        body, own = load_resnet50(materials.weights("resnet50"))
        head = own
        if self.head is not None:
            tensors = load_file(materials.out / "surrogates" / self.head)
            head = nn.Linear(tensors["weight"].shape[1], tensors["weight"].shape[0])
            head.load_state_dict(tensors)
        return surrogate(body.to(materials.device), head.to(materials.device))


def trained_surrogate(materials: Materials, card: BackboneCard, dataset: str, seed: int) -> TrainedSurrogate:
    """The surrogate of a data set, its head trained where it has to be; raises Rejected without a ResNet-50."""
    body, _ = load_resnet50(materials.weights("resnet50"))
    weights = materials.weights_sha256("resnet50")
    if dataset == "imagenet":
        return TrainedSurrogate(weights, None)
    params = HeadParams(seed=seed)
    train = materials.split(dataset, "train")
    said = json.dumps([weights, dataset, listing_sha256(train), card.image_size, card.fit, asdict(params)])
    sha256 = hashlib.sha256(said.encode()).hexdigest()
    name = f"{dataset}-{sha256[:12]}.safetensors"
    path = materials.out / "surrogates" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)

        def images(indices: Tensor) -> Tensor:
            return inputs(train, indices.tolist(), card)

        head = train_head(body, images, torch.from_numpy(train.labels), len(train.class_names), params)
        replace_file(
            path,
            save({key: value.detach().cpu().contiguous() for key, value in head.state_dict().items()}),
            private=False,
        )
    return TrainedSurrogate(sha256, name)
