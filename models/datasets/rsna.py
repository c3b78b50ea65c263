"""RSNA Pneumonia Detection Challenge (2018): a DICOM file for each patient, several rows for some of them."""

from models.datasets.files import Files
from models.datasets.listing import Item, Listing, label_of, unique
from models.datasets.sample import SplitName, thirds


def rsna(files: Files, split: SplitName) -> Listing:
    """The labelled images, split by patient with a fixed seed; a patient with several findings is one row of each."""
    base, rows = files.part("images"), files.rows(files.part("table"), ("patientId", "class"))
    patients = unique((Item(f"{base}/{row['patientId']}.dcm", label_of(row["class"], files)) for row in rows), files)
    items = (
        Item(name, label)
        for label in range(len(files.card.raw_labels))
        for name in thirds([item.name for item in patients if item.label == label], split)
    )
    return Listing(items=unique(items, files), read=files.image, rule="seeded")
