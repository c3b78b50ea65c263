"""The commands that run on this machine, as a test gives them their options."""


def arguments(name: str, *positional: object, **options: object) -> list[str]:
    """Returns the arguments of a command: True is a flag, and None an option that is left out."""
    given: list[str] = []
    for option, value in options.items():
        flag = f"--{option.replace('_', '-')}"
        if value is True:
            given.append(flag)
        elif value is not None and value is not False:
            given.append(f"{flag}={value}")
    return [*name.split(), *given, "--", *map(str, positional)] if positional else [*name.split(), *given]
