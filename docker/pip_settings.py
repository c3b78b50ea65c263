"""Writes the settings of pip as a file; prints the options of buildah that mount it and every local path it names."""

import re
import sys
from pathlib import Path


def main() -> None:
    """Reads the output of `pip config list`; the only argument names the file."""
    target = Path(sys.argv[1])
    settings: dict[str, str] = {}
    for line in sys.stdin:
        if match := re.fullmatch(r"(?::env:|global)\.([a-z-]+)='(.*)'", line.strip()):
            settings[match[1]] = match[2]
    target.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()), "utf-8")
    words = [word for value in settings.values() for word in value.split()]
    # The pages of an index on this disk link to files beside its folder.
    paths = {str(Path(word.removeprefix("file://")).parent) for word in words if word.startswith("file://")}
    paths |= {word for word in words if word.startswith("/")}
    mounts = {f"{path}:{path}:ro" for path in paths if Path(path).exists()}
    for mount in sorted({f"{target}:/etc/pip.conf:ro", *mounts}):
        sys.stdout.write(f"--volume\n{mount}\n")


if __name__ == "__main__":
    main()
