"""`python -m tests.support.broken_decoder QUEUE`: `certrad worker QUEUE` whose DICOM decoder turns pictures over."""

import sys
from dataclasses import replace
from typing import Any

from certrad.models.images.decoded_image import DecodedImage
from certrad.workers.cli.main import main
from certrad.workers.decoders import dicom

_decode = dicom.decode


def _turned(*given: Any, **named: Any) -> DecodedImage:  # whatever the decoder takes
    image = _decode(*given, **named)
    return replace(image, pixels=image.pixels[::-1].copy())


dicom.decode = _turned
sys.exit(main(["worker", sys.argv[1]]))
