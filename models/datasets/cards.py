"""Class names and templates that the cards of data sets and tasks state."""

from certrad.models.shipped import shipped_datasets, shipped_tasks
from certrad.models.types import DatasetCard


def names_and_template(card: DatasetCard) -> tuple[tuple[str, ...] | None, str | None]:
    """Returns the class names and the template of the card's task, or no names and the card's own template."""
    if card.task is None:
        return None, card.template
    task = shipped_tasks()[card.task]
    return task.class_names, task.template


def published_labels(task: str | None) -> tuple[str, ...]:
    """Returns the class names of a task's published data set, in its order; empty where there is no such set."""
    cards = (card for card in shipped_datasets().values() if task is not None and card.task == task)
    return next((card.raw_labels for card in cards), ())
