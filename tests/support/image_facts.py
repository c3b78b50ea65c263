"""Facts of an image that was never decoded."""

from certrad.models.types.applied_window import AppliedWindow
from certrad.models.types.image import ImageRecord, ImageScale
from certrad.models.types.noise_space import NoisyImage
from tests.support.certificates import SCALE, WINDOWS


def image_facts(
    *,
    pixels_sha256: str = "ab" * 32,
    input_sha256: str = "cd" * 32,
    side: int = 64,
    scale: ImageScale = SCALE,
    window: AppliedWindow = WINDOWS[0],
    noisy: NoisyImage | None = None,
) -> ImageRecord:
    """The facts of a CT slice."""
    return ImageRecord(
        format="dicom",
        rows=512,
        columns=512,
        channels=1,
        bits=12,
        decoder="test 1",
        lossy=False,
        transforms=("modality_lut", "window_linear"),
        unit="HU",
        slope=1 / 399,
        pixels_sha256=pixels_sha256,
        input_sha256=input_sha256,
        shape=(3, side, side),
        scale=scale,
        window=window,
        noisy=noisy,
    )
