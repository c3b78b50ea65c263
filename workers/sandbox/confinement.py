"""Gives up rights of a Linux process for good without any privilege: files by Landlock, sockets by seccomp.

Both are best effort: a kernel or processor without them leaves the process unchanged, and the functions return False.
"""

import ctypes
import os
import platform
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

# linux/landlock.h; the three system calls have the same numbers on every architecture
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_EVERY_RIGHT: Final = (1 << 13) - 1  # of version 1: read, write, execute, make, remove
_TRUNCATE: Final = 1 << 14  # since version 3
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3

# linux/prctl.h, seccomp.h, filter.h, audit.h
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | 13  # EACCES
_X32: Final = 0x40000000
_IO_URING_SETUP: Final = 425
_SOCKET: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # the architecture and its `socket`


def hide(directory: Path) -> bool:
    """Prevents this process from opening anything in a directory, and anything anywhere for writing.

    It can still read what is beside the directory and above it. It needs no_new_privs.

    Args:
        directory: The directory.

    Returns:
        Whether it could be done.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    if version < 1:
        return False
    handled = struct.pack("=Q", _EVERY_RIGHT | (_TRUNCATE if version >= 3 else 0))
    ruleset = libc.syscall(_CREATE_RULESET, handled, len(handled), 0)
    try:
        for path in _around(directory.resolve()):
            _allow_reading(libc, ruleset, path)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def give_up_sockets() -> bool:
    """Prevents this process from making a socket. It needs no_new_privs.

    Returns:
        Whether it could be done.
    """
    if sys.platform != "linux" or platform.machine() not in _SOCKET:
        return False
    architecture, make_socket = _SOCKET[platform.machine()]
    program = [
        (_LOAD, 0, 0, 4),  # the architecture of the call
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # its number
        (_AT_LEAST, 3, 0, _X32),
        (_EQUAL, 2, 0, make_socket),
        (_EQUAL, 1, 0, _IO_URING_SETUP),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    described = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    return bool(ctypes.CDLL(None).prctl(_PR_SET_SECCOMP, _MODE_FILTER, described, 0, 0) == 0)


def _around(directory: Path) -> Iterator[os.DirEntry[str]]:
    """Yields everything outside the directory by as few names as possible; symbolic links lead to one of the others."""
    way = {directory, *directory.parents}
    for ancestor in directory.parents:
        with suppress(OSError), os.scandir(ancestor) as entries:  # what cannot be listed is not read
            yield from (entry for entry in entries if Path(entry.path) not in way and not entry.is_symlink())


def _allow_reading(libc: ctypes.CDLL, ruleset: int, entry: os.DirEntry[str]) -> None:
    try:
        descriptor = os.open(entry.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or not ours to see
        return
    try:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rights = _EXECUTE | _READ_FILE | (_READ_DIR if is_directory else 0)
        libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
