"""Entity tags (RFC 9110, section 8.8.3): whether the copy of a client is the current one."""


def not_modified(tag: str, if_none_match: str | None) -> bool:
    """Returns whether a client has the current copy, so that the answer is 304.

    Args:
        tag: The entity tag of the current copy, in quotation marks.
        if_none_match: The client's `If-None-Match`: tags after commas, or `*`; None without one.
    """
    tags = [each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")]
    return tag in tags or tags == ["*"]
