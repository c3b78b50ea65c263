"""Triton kernels of the noise law `philox-boxmuller-f64`: counter in, noisy pixels on the grid out, in one pass.

Imported only where the kernels run: on CUDA, or in Triton's interpreter, which a process chooses by TRITON_INTERPRET=1
before the import. Each step is one operation of the eager law in `noise.boxmuller` and `NoisySampler`, in its order;
the launch forbids to fuse products with sums, so that the two differ by their logarithm, cosine and sine alone. These
are libdevice's on CUDA (`__nv_log`, `__nv_cos`, `__nv_sin`), which torch calls too. Nothing of Triton's own library
that is itself compiled is called (`zeros_like`, `interleave`): after an import of Triton before the interpreter was
chosen, it would not run there.
"""

import triton
import triton.language as tl

MULTIPLIER_0: tl.constexpr = tl.constexpr(0xD2511F53)
MULTIPLIER_1: tl.constexpr = tl.constexpr(0xCD9E8D57)
WEYL_0: tl.constexpr = tl.constexpr(0x9E3779B9)
WEYL_1: tl.constexpr = tl.constexpr(0xBB67AE85)
ROUNDS: tl.constexpr = tl.constexpr(10)
UNIT: tl.constexpr = tl.constexpr(2.0**-53)
TWO_PI: tl.constexpr = tl.constexpr(6.283185307179586)
WHITE: tl.constexpr = tl.constexpr(255.0)
TO_INTEGER: tl.constexpr = tl.constexpr(1.5 * 2.0**52)
"""A float64 this large has no fraction: adding it and taking it off rounds to the nearest integer, ties to even."""


@triton.jit
def philox(pair, index, stream, k0, k1):
    """Returns the four words of Philox4x32-10 of the counter [pair, 0, index, stream], uint32."""
    c0 = pair.to(tl.uint32)
    c1 = tl.full(c0.shape, 0, tl.uint32)
    c2 = c1 + index.to(tl.uint32)
    c3 = c1 + stream.to(tl.uint32)
    k0 = c1 + k0.to(tl.uint32)
    k1 = c1 + k1.to(tl.uint32)
    m0 = tl.full(c0.shape, MULTIPLIER_0, tl.uint32)
    m1 = tl.full(c0.shape, MULTIPLIER_1, tl.uint32)
    w0 = tl.full(c0.shape, WEYL_0, tl.uint32)
    w1 = tl.full(c0.shape, WEYL_1, tl.uint32)
    for _ in tl.static_range(ROUNDS):
        upper0 = tl.umulhi(c0, m0)
        upper1 = tl.umulhi(c2, m1)
        lower0 = c0 * m0
        lower1 = c2 * m1
        c0 = upper1 ^ c1 ^ k0
        c1 = lower1
        c2 = upper0 ^ c3 ^ k1
        c3 = lower0
        k0 = k0 + w0
        k1 = k1 + w1
    return c0, c1, c2, c3


@triton.jit
def uniform53(high, low):
    """Returns the upper 53 of the 64 bits high || low, times 2^-53, float64: exact."""
    bits = ((high.to(tl.uint64) << 32) | low.to(tl.uint64)) >> 11
    return bits.to(tl.int64).to(tl.float64) * UNIT


@triton.jit
def rounded_to_bfloat16(value):
    """Returns the nearest bfloat16 as a float32, ties to even: Triton's interpreter would cut the last bits off."""
    bits = value.to(tl.uint32, bitcast=True)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).to(tl.float32, bitcast=True)


@triton.jit
def normal_pair(pair, index, stream, k0, k1):
    """Returns normals 2 pair and 2 pair + 1, float64."""
    w0, w1, w2, w3 = philox(pair, index, stream, k0, k1)
    r = tl.sqrt(tl.log(uniform53(w0, w1) + UNIT) * -2.0)
    angle = uniform53(w2, w3) * TWO_PI
    return r * tl.cos(angle), r * tl.sin(angle)


@triton.jit
def interleaved(even, odd):
    """Returns the elements of both in turns: even[0], odd[0], even[1], and so on."""
    return tl.reshape(tl.join(even, odd), [2 * even.shape[0]])


@triton.jit(do_not_specialize=["first", "stream", "pairs"])
def words_kernel(out, key, first, stream, pairs, block: tl.constexpr):
    """Writes the words of each pair of each sample: out is int64 (samples, pairs, 4)."""
    pair = tl.program_id(0) * block + tl.arange(0, block)
    row = tl.program_id(1)
    w0, w1, w2, w3 = philox(pair, first + row, stream, tl.load(key), tl.load(key + 1))
    place = out + (row.to(tl.int64) * pairs + pair) * 4
    inside = pair < pairs
    tl.store(place, w0.to(tl.int64), mask=inside)
    tl.store(place + 1, w1.to(tl.int64), mask=inside)
    tl.store(place + 2, w2.to(tl.int64), mask=inside)
    tl.store(place + 3, w3.to(tl.int64), mask=inside)


@triton.jit(do_not_specialize=["first", "stream", "d"])
def normals_kernel(out, key, first, stream, d, block: tl.constexpr):
    """Writes the normals of each sample: out is float64 (samples, d)."""
    row = tl.program_id(1)
    pair = tl.program_id(0) * block + tl.arange(0, block)
    even, odd = normal_pair(pair, first + row, stream, tl.load(key), tl.load(key + 1))
    place = tl.program_id(0) * 2 * block + tl.arange(0, 2 * block)
    tl.store(out + row.to(tl.int64) * d + place, interleaved(even, odd), mask=place < d)


@triton.jit(do_not_specialize=["first", "stream", "d", "area"])
def pixels_kernel(
    out,
    image,
    key,
    sigma,
    normalisation,
    first,
    stream,
    d,
    area,
    channels: tl.constexpr,
    channels_last: tl.constexpr,
    normalised: tl.constexpr,
    block: tl.constexpr,
):
    """Writes noisy pixels of each sample: out is (samples, C, H, W) in memory, or (samples, H, W, C) if channels_last.

    k = rint((x + sigma eps) 255) in float64, k / 255 in float32, then (k / 255 - mean) / std in float32 if normalised,
    then the dtype of `out`. `image` is float64 (C, H, W), `normalisation` float32: the means, then the deviations.
    """
    row = tl.program_id(1)
    pair = tl.program_id(0) * block + tl.arange(0, block)
    even, odd = normal_pair(pair, first + row, stream, tl.load(key), tl.load(key + 1))
    place = tl.program_id(0) * 2 * block + tl.arange(0, 2 * block)
    inside = place < d
    y = (interleaved(even, odd) * tl.load(sigma) + tl.load(image + place, mask=inside, other=0.0)) * WHITE
    k = ((y + TO_INTEGER) - TO_INTEGER).to(tl.float32)
    value = tl.div_rn(k, tl.full(k.shape, WHITE, tl.float32))
    channel = place // area
    if normalised:
        mean = tl.load(normalisation + channel, mask=inside, other=0.0)
        deviation = tl.load(normalisation + channels + channel, mask=inside, other=1.0)
        value = tl.div_rn(value - mean, deviation)
    if out.dtype.element_ty == tl.bfloat16:
        value = rounded_to_bfloat16(value)
    if channels_last:
        place = (place - channel * area) * channels + channel
    tl.store(out + row.to(tl.int64) * d + place, value.to(out.dtype.element_ty), mask=inside)
