"""The window of an image in words."""

from certrad.models.types.applied_window import (
    AppliedWindow,
    FullRange,
    HeaderTable,
    PercentileRange,
    WindowOfHeader,
    WindowOfRequest,
    WindowOfTask,
)
from certrad.workers.reports.texts import Texts


def window_text(window: AppliedWindow | None, texts: Texts) -> str:
    """Returns a sentence about the window that was applied.

    Args:
        window: The window; None where it is not known.
        texts: The texts of a language.
    """
    match window:
        case WindowOfHeader():
            return texts(
                "window.header",
                number=str(window.number),
                of=str(window.of),
                function=window.function,
                **_values(window, texts),
            )
        case HeaderTable():
            return texts("window.header_table", number=str(window.number), of=str(window.of))
        case WindowOfRequest():
            return texts("window.request", **_values(window, texts))
        case WindowOfTask():
            values = _values(window, texts)
            return texts("window.preset", name=window.name, modality=window.modality, **values)
        case PercentileRange():
            return texts("window.percentile", low=texts.number(window.low), high=texts.number(window.high))
        case FullRange():
            return texts("window.full_range")
        case None:
            return texts("window.unknown")


def _values(window: WindowOfHeader | WindowOfRequest | WindowOfTask, texts: Texts) -> dict[str, str]:
    return {"centre": texts.number(window.centre), "width": texts.number(window.width)}
