"""The journal of a long computation: a header, then a line for each finished part, never rewritten."""

from pathlib import Path


class Journal:
    """Keeps the lines of one computation across runs; a line torn by a kill is dropped.

    Args:
        path: the file; without one the lines are kept in memory only.
        header: everything that decides the lines, on one line.

    Raises:
        ValueError: if the file has another header.
    """

    def __init__(self, path: Path | None, header: str) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path is not None and path.exists() else []
        whole = [line for line in lines if line.endswith("\n")] or [header + "\n"]
        if whole[0] != header + "\n":
            raise ValueError(f"{path} belongs to other settings; choose another file or delete it")
        if path is not None and whole != lines:
            path.write_text("".join(whole), encoding="utf-8")
        self.lines = [line.rstrip("\n") for line in whole[1:]]

    def append(self, line: str) -> None:
        """Appends a line."""
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        self.lines.append(line)
