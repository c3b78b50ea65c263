"""Error codes of an image, and of the images of a tuning."""

from typing import Final

from certrad.models.problems.problem import Problem

IMAGE_PROBLEMS: Final[dict[str, Problem]] = {
    # -- the image -------------------------------------------------------------------------------------------------
    "empty_image": Problem(
        title="The image is empty",
        raised_if="the upload has zero bytes",
    ),
    "unsupported_format": Problem(
        title="Not a PNG, JPEG, TIFF or DICOM file",
        raised_if="the first bytes are of no supported format; declared types and file names are ignored",
    ),
    "unreadable_image": Problem(
        title="The image cannot be decoded",
        raised_if="the file is truncated or corrupt",
    ),
    "image_too_large": Problem(
        title="The image has too many pixels",
        raised_if="the declared or decoded size exceeds `CERTRAD_MAX_PIXELS`, or decoding exceeded its memory or "
        "time limit",
    ),
    "image_too_large_for_noise": Problem(
        title="The image has too many pixels for noise on its own pixels",
        raised_if="with `noise_space=image`, the part that the model sees has more values than noise at this sigma may "
        "be added to: the more there are, the more rounding of the noise could add up to",
    ),
    "image_sizes_differ": Problem(
        title="The images of a tuning have several shapes",
        raised_if="with `noise_space=image`, two images of a tuning differ in rows, columns or channels",
    ),
    "image_too_small": Problem(
        title="The image has too few pixels",
        raised_if="a side of the image or region is below 8 pixels, or below one pixel of the input of a backbone "
        "that pads",
    ),
    "animated_image": Problem(
        title="More than one image in the file",
        raised_if="a PNG, JPEG or TIFF holds several images",
    ),
    "unsupported_pixels": Problem(
        title="A kind of pixel that is not converted",
        raised_if="the pixel format (CMYK, float, 32 bit, a non-linear or malformed lookup table, a rescale slope or "
        "intercept without the other) has no safe conversion, or the pixels are not square",
    ),
    "dicom_without_pixels": Problem(
        title="The DICOM object has no pixels",
        raised_if="the object has no pixel data element",
    ),
    "dicom_not_an_image": Problem(
        title="The DICOM object is not an image to classify",
        raised_if="the object is a segmentation, dose, presentation state, report or document",
    ),
    "dicom_unsupported": Problem(
        title="The DICOM encoding is not accepted",
        raised_if="the file has no transfer syntax, a deflated or referenced one, or one without a decoder; or it is "
        "12-bit JPEG, or has more than some 200,000 elements before its pixels",
    ),
    "frame_required": Problem(
        title="`frame` is required",
        raised_if="the image has more than one frame and `frame` is absent",
    ),
    "frame_out_of_range": Problem(
        title="No such frame",
        raised_if="`frame` is below 1 or above the number of frames",
    ),
    "region_out_of_range": Problem(
        title="The region is outside the image",
        raised_if="`region` is not inside the image",
    ),
    "variant_unavailable": Problem(
        title="The file cannot be rendered in this way",
        raised_if="`variants` asks for a window of the header where there is none, a box of windows of an image that "
        "has no window or whose box reaches a step, a frame that the file does not have, or a region that is not there "
        "or would leave the image",
    ),
    "too_many_variants": Problem(
        title="Too many variants",
        raised_if="`variants` stands for more renderings than `CERTRAD_VARIANTS_MAX`",
    ),
    "parameters_unavailable": Problem(
        title="The image has no window that noise can be added to",
        raised_if="`parameter_sigma` is sent with a colour image, or with one that is shown with a lookup table or a "
        "range of values, with a window as narrow as 1 or with a centre or width above 65,536, or the part that the "
        "model sees has more than 4,194,304 pixels",
    ),
    # -- the images of a tuning ------------------------------------------------------------------------------------
    "invalid_archive": Problem(
        title="Not a zip with one folder of images for each class",
        raised_if="`images` is no zip, damaged, encrypted or compressed by another method than deflate, or its "
        "files do not lie in one folder for each class",
    ),
    "unsafe_archive": Problem(
        title="An entry of the archive is no plain file in a folder",
        raised_if="an entry has an absolute path, `..`, a backslash or a control character, or is a link or a device",
    ),
    "archive_too_large": Problem(
        title="The archive unpacks to too much",
        raised_if="the archive holds more files than `CERTRAD_MAX_ARCHIVE_FILES`, more bytes than "
        "`CERTRAD_MAX_UNPACKED_BYTES`, an entry that unpacks to over 1 MiB and to more than 250 times its size, or "
        "more chosen images than fit `CERTRAD_MAX_TUNING_BYTES`",
    ),
    "duplicate_file": Problem(
        title="Two files of the archive have one name",
        raised_if="two paths are equal, or differ in case or in the form of their accents only",
    ),
    "empty_class": Problem(
        title="A class has no image",
        raised_if="a folder of the archive holds no file",
    ),
    "too_few_classes": Problem(
        title="At least two classes are needed",
        raised_if="the archive has fewer than two folders",
    ),
    "class_mismatch": Problem(
        title="The folders are not the classes",
        raised_if="there are more or fewer folders than classes in `task` or `classes`, or a folder bears the name "
        "of another class than the one at its place",
    ),
    "too_few_images": Problem(
        title="A class has fewer images than asked for",
        raised_if="a class has no image, or fewer than `shots`",
    ),
}
