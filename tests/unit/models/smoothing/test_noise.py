"""The noise laws give the known answers, and noise is a pure function of (key, stream, sample index)."""

import hashlib
import hmac
import math
import struct
import subprocess
from typing import get_args

import numpy as np
import pytest
import torch

from certrad.models.certificates.noise_key import noise_key
from certrad.models.smoothing.box_muller import CHUNK
from certrad.models.smoothing.noise import (
    CPU_LAWS,
    Noise,
    Stream,
    aes_boxmuller,
    boxmuller,
    philox4x32,
    ziggurat,
)
from certrad.models.types import ETA, NoiseLaw
from certrad.models.types.total_variation import total_variation

KEY = bytes(range(32))
LAWS: tuple[NoiseLaw, ...] = get_args(NoiseLaw)
CPU = torch.device("cpu")


# -- known answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox4x32_gives_the_known_answers_of_random123(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    c0, c1, c2, c3 = (torch.tensor([word]) for word in counter)
    assert tuple(int(word) for word in philox4x32((c0, c1, c2, c3), key)) == expected


@pytest.mark.parametrize(
    ("law", "stream", "index", "expected"),
    [
        ("philox-ziggurat-f64", Stream.ADAPT, 0, (-0.1465033736671921, 0.8061085740909321, 0.1507745764156198)),
        ("philox-ziggurat-f64", Stream.SELECT, 0, (-1.380843827134925, 1.1267259653938237, 0.2505194258557839)),
        ("philox-ziggurat-f64", Stream.ESTIMATE, 0, (0.6828707219649857, 0.42879006195127983, -0.9644662377078679)),
        ("philox-ziggurat-f64", Stream.ESTIMATE, 9999, (-0.6426354460665288, -0.8352414738620378, 1.1330354816709924)),
        ("philox-ziggurat-f64", Stream.PREDICT, 5, (1.0552283446242567, -0.14477637570803692, -0.4428452541382524)),
        ("philox-boxmuller-f64", Stream.ADAPT, 0, (-1.3803502391636626, -0.3514917605454428, 0.49774159712057425)),
        ("philox-boxmuller-f64", Stream.SELECT, 0, (-0.4130428740760056, -0.33708848536242264, -1.6839593593995459)),
        ("philox-boxmuller-f64", Stream.ESTIMATE, 0, (1.0971040021321414, -0.4314367576490992, -0.9066667116231701)),
        ("philox-boxmuller-f64", Stream.ESTIMATE, 9999, (-0.3150376756579673, 1.3586717379333373, 1.2585528141309994)),
        ("philox-boxmuller-f64", Stream.PREDICT, 5, (-1.4259918177945046, 1.2255273046785402, -0.3037037032084257)),
        ("aes128ctr-boxmuller-f64", Stream.ADAPT, 0, (-1.1485812529509551, 0.17479189184767108, 1.9955303638535349)),
        ("aes128ctr-boxmuller-f64", Stream.SELECT, 0, (1.1219440963003189, 0.49839120686341926, 1.22855036935149)),
        ("aes128ctr-boxmuller-f64", Stream.ESTIMATE, 0, (-1.597390791816098, -0.6767100764121848, -0.708908687821113)),
        (
            "aes128ctr-boxmuller-f64",
            Stream.ESTIMATE,
            9999,
            (-0.9821535480776693, -0.47223708370167994, 0.11404371319116739),
        ),
        ("aes128ctr-boxmuller-f64", Stream.PREDICT, 5, (0.9523526178998399, -0.7547743872755542, -0.8843014503321412)),
    ],
)
def test_stored_known_answers_of_each_law(
    law: NoiseLaw, stream: Stream, index: int, expected: tuple[float, ...]
) -> None:
    normals = Noise(KEY, law).standard_normal(stream, index, (3,))
    assert normals == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("law", "digest"),
    [
        ("philox-ziggurat-f64", "9440bcace79b28b010cd95fcd554d2654c2ea7d074cae4ef612bf71f0fdb64d2"),
        ("philox-boxmuller-f64", "0c2c105f8e9c3cd3b915ec0015c36b648bc5391e93bc9e7dcd268caf16b6e477"),
        ("aes128ctr-boxmuller-f64", "50fc4737700734e68339e07872f40de6eb810fa4f926102cb69a997ac83d3b95"),
    ],
)
def test_stored_digest_of_a_whole_sample(law: NoiseLaw, digest: str) -> None:
    """To 20 binary places, so that a last bit that differs between processors does not matter."""
    normals = Noise(KEY, law).standard_normal(Stream.ESTIMATE, 1, (3, 64, 64))
    assert hashlib.sha256(np.rint(normals * 2**20).astype("<i4").tobytes()).hexdigest() == digest


# -- the laws as documented, written a second time -------------------------------------------------------------------


def philox_reference(counter: list[int], key: list[int], bits: int) -> list[int]:
    """Philox4x32-10 or Philox4x64-10 in Python integers (Salmon et al. 2011)."""
    multipliers, increments = {
        32: ((0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)),
        64: ((0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)),
    }[bits]
    mask = (1 << bits) - 1
    for _ in range(10):
        product0, product1 = multipliers[0] * counter[0], multipliers[1] * counter[2]
        counter = [
            (product1 >> bits) ^ counter[1] ^ key[0],
            product1 & mask,
            (product0 >> bits) ^ counter[3] ^ key[1],
            product0 & mask,
        ]
        key = [(key[0] + increments[0]) & mask, (key[1] + increments[1]) & mask]
    return counter


def test_the_boxmuller_law_is_the_documented_one() -> None:
    index, normals = 77, []
    for pair in range(50):
        w = philox_reference([pair, 0, index, Stream.ESTIMATE], list(struct.unpack("<2I", KEY[:8])), 32)
        u1 = ((((w[0] << 32) | w[1]) >> 11) + 1) / 2**53
        u2 = (((w[2] << 32) | w[3]) >> 11) / 2**53
        r = math.sqrt(-2 * math.log(u1))
        normals += [r * math.cos(2 * math.pi * u2), r * math.sin(2 * math.pi * u2)]
    drawn = boxmuller(KEY, Stream.ESTIMATE, range(index, index + 1), 100, CPU)
    assert drawn[0].numpy() == pytest.approx(normals, abs=1e-14)


def aes_words(key: bytes, stream: Stream, index: int, pairs: int) -> list[int]:
    """The words of the law `aes128ctr-boxmuller-f64`, by the program openssl."""
    block = struct.pack(">QH", index, stream) + bytes(6)
    command = ["openssl", "enc", "-aes-128-ctr", "-K", key[:16].hex(), "-iv", block.hex()]
    keystream = subprocess.run(command, input=bytes(16 * pairs), stdout=subprocess.PIPE, check=True).stdout
    return [int(word) for word in np.frombuffer(keystream, "<u8")]


@pytest.mark.system  # `make debian` installs openssl
@pytest.mark.parametrize(
    ("stream", "index"), [(Stream.ADAPT, 0), (Stream.ESTIMATE, 77), (Stream.PREDICT, 999_999), (Stream.SELECT, 2**63)]
)
def test_openssl_draws_the_normals_of_the_aes_law(stream: Stream, index: int) -> None:
    """The odd d crosses a chunk, and its last pair is cut in two."""
    d = 2 * CHUNK + 501
    u = np.array(aes_words(KEY, stream, index, (d + 1) // 2), dtype=np.uint64).reshape(-1, 2) >> 11
    r = np.sqrt(-2 * np.log((u[:, 0] + 1) / 2**53))
    angle = 2 * np.pi * (u[:, 1] / 2**53)
    expected = np.column_stack([r * np.cos(angle), r * np.sin(angle)]).ravel()[:d]
    (drawn,) = aes_boxmuller(KEY, stream, range(index, index + 1), d)
    assert drawn == pytest.approx(expected, abs=1e-14)


def test_the_aes_law_refuses_a_sample_whose_blocks_would_run_into_its_stream() -> None:
    with pytest.raises(ValueError, match="more blocks than its counter has"):
        next(aes_boxmuller(KEY, Stream.SELECT, range(1), 2**49 + 1))


def test_the_bits_of_the_aes_law_are_those_of_every_machine() -> None:
    normals = Noise(KEY, "aes128ctr-boxmuller-f64").standard_normal(Stream.ESTIMATE, 1, (3, 64, 64))
    assert (
        hashlib.sha256(normals.astype("<f8").tobytes()).hexdigest()
        == "f8107c53adf3fbe69865dbd0ddac7c4feea2b0fe69d0866bd511b3dda6a219b9"
    )


def test_the_ziggurat_law_reads_the_documented_words() -> None:
    """numpy counts before it draws: its first block is number 1."""
    philox = np.random.Philox(key=np.frombuffer(KEY, "<u8", 2), counter=[0, 0, 77, Stream.ESTIMATE])
    words = [philox_reference([block, 0, 77, 2], list(struct.unpack("<2Q", KEY[:16])), 64) for block in (1, 2)]
    assert philox.random_raw(8).tolist() == words[0] + words[1]
    expected = np.random.Generator(
        np.random.Philox(key=np.frombuffer(KEY, "<u8", 2), counter=[0, 0, 77, Stream.ESTIMATE])
    ).standard_normal(500)
    assert np.array_equal(next(ziggurat(KEY, Stream.ESTIMATE, range(77, 78), 500)), expected)


# -- a pure function of (key, stream, index) -------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
def test_noise_does_not_depend_on_what_was_drawn_before(law: NoiseLaw) -> None:
    noise = Noise(KEY, law)
    forward = [noise.standard_normal(Stream.SELECT, i, (3, 5, 7)) for i in range(5)]
    backward = [noise.standard_normal(Stream.SELECT, i, (3, 5, 7)) for i in reversed(range(5))]
    assert np.array_equal(forward, backward[::-1])


@pytest.mark.parametrize("law", CPU_LAWS)
def test_drawing_many_samples_on_the_cpu_gives_each_the_same_noise(law: NoiseLaw) -> None:
    alone = [Noise(KEY, law).standard_normal(Stream.SELECT, i, (999,)) for i in range(3, 9)]
    assert np.array_equal([normals.copy() for normals in CPU_LAWS[law](KEY, Stream.SELECT, range(3, 9), 999)], alone)


def test_drawing_many_samples_on_the_device_gives_each_the_same_noise() -> None:
    alone = [Noise(KEY, "philox-boxmuller-f64").standard_normal(Stream.SELECT, i, (999,)) for i in range(3, 9)]
    assert boxmuller(KEY, Stream.SELECT, range(3, 9), 999, CPU).numpy() == pytest.approx(np.array(alone), abs=1e-14)


def test_samples_beyond_one_step_of_the_device_law_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = boxmuller(KEY, Stream.SELECT, range(7), 100, CPU)
    monkeypatch.setattr("certrad.models.smoothing.noise._CPU_STEP", 250)
    assert boxmuller(KEY, Stream.SELECT, range(7), 100, CPU).numpy() == pytest.approx(whole.numpy(), abs=1e-14)


@pytest.mark.parametrize("law", LAWS)
def test_a_shorter_sample_is_a_prefix_of_a_longer_one(law: NoiseLaw) -> None:
    noise = Noise(KEY, law)
    longer = noise.standard_normal(Stream.SELECT, 1, (100,))
    assert noise.standard_normal(Stream.SELECT, 1, (7,)) == pytest.approx(longer[:7], abs=1e-14)


@pytest.mark.parametrize("law", LAWS)
def test_key_stream_and_index_each_change_the_noise(law: NoiseLaw) -> None:
    draws = [
        Noise(key, law).standard_normal(stream, index, (4,)).tobytes()
        for key in (KEY, KEY[::-1])
        for stream in Stream
        for index in (0, 1, 999_999)
    ]
    assert len(set(draws)) == len(draws)


def test_the_values_of_the_streams_are_part_of_the_law() -> None:
    assert {stream.name: int(stream) for stream in Stream} == {"ADAPT": 0, "SELECT": 1, "ESTIMATE": 2, "PREDICT": 3}


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Noise(key)


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(ValueError, match="the noise law must be"):
        Noise(KEY, "mt19937-f32")  # type: ignore[arg-type]


# -- the key ---------------------------------------------------------------------------------------------------------

SECRET = b"an epoch secret of the site"


def test_noise_key_known_answer() -> None:
    key = noise_key(SECRET, "00" * 32, "ff" * 32)
    assert key == hmac.new(SECRET, bytes(32) + b"\xff" * 32, hashlib.sha256).digest()
    assert key.hex() == "2e426989e38c59cd94051e3743df89bbe7ff18b6da5451f031d6c541f3319e3a"


@pytest.mark.parametrize("digests", [("00" * 31, "ff" * 33), ("", "00" * 64), ("00" * 64, ""), ("zz" * 32, "00" * 32)])
def test_digests_of_another_length_cannot_shift_into_each_other(digests: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"SHA-256|hexadecimal"):
        noise_key(SECRET, *digests)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        noise_key(b"short", "00" * 32, "ff" * 32)


# -- eta -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("sigma", [0.02, 0.25, 1.0, 2.0])
def test_the_noise_of_a_224_pixel_image_stays_within_eta(law: NoiseLaw, sigma: float) -> None:
    assert 0 < total_variation(law, sigma, 3 * 224 * 224) < ETA


def test_ziggurat_spends_what_was_derived_for_it() -> None:
    """Arithmetic 3.7e-8 and generation below 7e-8 at sigma = 1 on 3 x 224 x 224."""
    assert total_variation("philox-ziggurat-f64", 1.0, 150_528) == pytest.approx(3.7e-8 + 6.8e-8, rel=0.02)
