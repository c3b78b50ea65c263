"""DICOM files in which every text is a token of its own, so that a test finds where each one went."""

import base64
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from redis import Redis

from certrad.workers.decoders import dicom as decoder
from tests.support.images import dicom as dicom_file
from tests.support.images import noise

_TEXTS: Final = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
_TOKEN: Final = re.compile(rb"QX[0-9]{5}Z")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
_PLAIN_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")
_ZLIB: Final = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_FIRST_GROUP, _PIXEL_GROUP = 0x0008, 0x7FE0
_DATES: Final = {"PatientBirthDate": "19030117", "StudyDate": "19630214", "PatientAge": "073Y"}
_UIDS: Final = {
    "SOPInstanceUID": "1.2.826.0.1.8086.1.71717",
    "StudyInstanceUID": "1.2.826.0.1.8086.2.72727",
    "SeriesInstanceUID": "1.2.826.0.1.8086.3.73737",
    "FrameOfReferenceUID": "1.2.826.0.1.8086.4.74747",
}


def layers(content: bytes, depth: int = 3) -> Iterator[bytes]:
    """Some bytes, and what they hold as base64, in either alphabet, or as a stream of zlib, to a depth."""
    yield content
    if depth == 0:
        return
    for found in _BASE64.findall(content):
        text = found.translate(_PLAIN_ALPHABET)[: None if len(found) % 4 != 1 else -1]
        yield from layers(base64.b64decode(text + b"=" * (-len(text) % 4)), depth - 1)
    for found in _ZLIB.finditer(content):
        with suppress(zlib.error):
            yield from layers(zlib.decompressobj().decompress(content[found.start() :]), depth - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A file, and the element of each of its tokens."""

    data: bytes
    tokens: Mapping[bytes, str]

    def found_in(self, content: bytes) -> set[str]:
        """The elements whose tokens are somewhere in some bytes, or in what is in them as base64 or zlib."""
        return {name for layer in layers(content) for name in self._plainly_in(layer)}

    def _plainly_in(self, content: bytes) -> set[str]:
        exact = {name for token, name in self.tokens.items() if not _TOKEN.fullmatch(token) and token in content}
        return exact | {self.tokens[token] for token in _TOKEN.findall(content) if token in self.tokens}

    def elements_of(self, dataset: Dataset) -> Iterator[tuple[str, str]]:
        """Yields the elements of a data set that hold tokens, each with the element that its token is from."""
        for element in dataset.iterall():
            if element.VR != "SQ":
                for name in self.found_in(str(element.value).encode()):
                    yield element.keyword or str(element.tag), name


def canary(**elements: Any) -> Canary:
    """A CT image with a token in every element of the dictionary that holds text, in a private one and in sequences.

    elements: over the others; None leaves one out.
    """
    read_for_pixels = {*decoder._READ}
    tokens: dict[bytes, str] = {}

    def token(name: str) -> str:
        made = f"QX{len(tokens):05}Z"
        tokens[made.encode()] = name
        return made

    texts = {
        keyword: token(keyword)
        for tag, (representation, _, _, is_retired, keyword) in sorted(DicomDictionary.items())
        if representation in _TEXTS
        and _FIRST_GROUP <= tag >> 16 < _PIXEL_GROUP
        and not is_retired
        and keyword
        and tag not in read_for_pixels
    }
    known = {**_UIDS, **_DATES}
    tokens |= {value.encode(): keyword for keyword, value in known.items()}
    item = Dataset()
    item.CodeMeaning, item.ReferencedSOPInstanceUID = token("in a sequence"), _UIDS["SOPInstanceUID"]
    values: dict[str, Any] = {
        **texts,
        **known,
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "Modality": "CT",
        "PatientSex": "O",
        "ProcedureCodeSequence": [item],
    }
    data = dicom_file(noise(48, 48), **{**values, **elements})
    preamble = token("preamble").encode().ljust(128, b"\0")
    return Canary(data=preamble + data[128:], tokens=tokens)


def content_of(redis: Redis, key: bytes) -> bytes:
    """All that a key holds, whatever its type."""
    readers: dict[bytes, Callable[[], object]] = {
        b"string": lambda: redis.get(key),
        b"hash": lambda: redis.hgetall(key),
        b"list": lambda: redis.lrange(key, 0, -1),
        b"set": lambda: redis.smembers(key),
        b"zset": lambda: redis.zrange(key, 0, -1, withscores=True),
        b"stream": lambda: redis.xrange(key),
        b"none": lambda: b"",  # gone since it was listed
    }
    held = readers[cast("bytes", redis.type(key))]()
    return b"\n".join(_parts(held))


def _parts(held: object) -> Iterator[bytes]:
    """The bytes in what Redis returns, as they are: their repr would hide what is packed."""
    if isinstance(held, bytes):
        yield held
    elif isinstance(held, dict):
        yield from _parts(list(held.items()))
    elif isinstance(held, list | tuple | set):
        for each in held:
            yield from _parts(each)
