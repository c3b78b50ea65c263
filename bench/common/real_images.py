"""The DICOM files of pydicom and pydicom-data that show a class of the task `mednist`, as the service would see them.

They were chosen by looking at every file and at its header. The other files show something else (leg, shoulder, spine,
neck, ultrasound, MRI of the abdomen, test patterns) or a crop of 16 x 16 pixels in which nothing can be seen.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from certrad.models.images.model_input import ModelInput, model_input
from certrad.models.types import BackboneCard, TaskCard
from certrad.models.types.window import FileWindow
from certrad.workers.decoders import dicom

_FOLDERS: Final = (("data_store", "data"), ("pydicom", "data/test_files"))
_MAX_PIXELS: Final = 16_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RealImage:
    """A file and the class that it shows.

    file: its name. truth: the class. shows: what a reader sees. faithful: whether it shows the class as an undamaged,
    upright image of it.
    """

    file: str
    truth: str
    shows: str
    faithful: bool = True

    @property
    def path(self) -> Path:
        """Where the package keeps the file.

        Raises:
            FileNotFoundError: The package is not installed.
        """
        for package, folder in _FOLDERS:
            spec = find_spec(package)
            for location in (spec.submodule_search_locations or []) if spec else []:
                if (path := Path(location) / folder / self.file).is_file():
                    return path
        raise FileNotFoundError(f"{self.file} is missing: install pydicom-data")

    def seen(self, backbone: BackboneCard, task: TaskCard) -> ModelInput:
        """Returns the image as the model sees it when a request names the task and no window."""
        image = dicom.decode(self.path.read_bytes(), max_pixels=_MAX_PIXELS, window=FileWindow.of_task(task.windows))
        return model_input(image, backbone.image_size, backbone.fit)


REAL_IMAGES: Final = (
    RealImage(file="693_J2KR.dcm", truth="head CT", shows="brain at the level of the ventricles; equals 693_UNCR"),
    RealImage(
        file="693_J2KI.dcm",
        truth="head CT",
        shows="the same slice, damaged when it was compressed: the brain is one grey level; equals 693_UNCI",
        faithful=False,
    ),
    RealImage(file="J2K_pixelrep_mismatch.dcm", truth="head CT", shows="base of the skull"),
    RealImage(file="RG1_J2KR.dcm", truth="chest X-ray", shows="chest, from behind; equals RG1_UNCR"),
    RealImage(file="RG1_J2KI.dcm", truth="chest X-ray", shows="the same, compressed with loss; equals RG1_UNCI"),
    RealImage(
        file="explicit_VR-UN.dcm",
        truth="abdomen CT",
        shows="abdomen, upside down: the rows of the file run from back to front",
        faithful=False,
    ),
)
"""Files that hold the same model input are one."""
