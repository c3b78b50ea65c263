"""The data set that `certrad evaluate` names."""

from dataclasses import replace

from certrad.models.installed import Cards
from certrad.models.shipped import shipped_datasets, shipped_tasks
from certrad.models.types import DatasetCard, TaskCard


def data_of(name: str, cards: Cards) -> tuple[DatasetCard, TaskCard | None]:
    """Returns the data set of a name with its task, if it has one; for an own task its images in folders.

    Args:
        name: Id of a data set or of an own task.
        cards: The cards that are installed.
    """
    if (data := shipped_datasets().get(name)) is not None:
        return data, None if data.task is None else shipped_tasks()[data.task]
    task = cards.tasks[name]
    own = replace(
        shipped_datasets()["folders"],
        id=task.id,
        title=task.title,
        template=task.template,
        default_backbone=task.default_backbone,
    )
    return own, task
