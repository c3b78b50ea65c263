"""Checks a certrad certificate (schema certrad.certificate/3) from its own bytes, without any code of certrad.

Needs mpmath and cryptography. Class, bounds, radius and the further claims are recomputed from the labels, in 30
digits. The words and the radius in the image's units are left to the signature. The labels themselves can only be
checked by drawing them again (`certrad verify --replay`).
--key: a public key of the issuer in hexadecimal, or its saved /.well-known/certrad-keys. --calibration: the file of a
calibration of prediction sets. Exit code 0: nothing refused.
"""

import argparse
import json
import math
import re
import sys
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from itertools import islice, takewhile
from pathlib import Path
from statistics import NormalDist

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from mpmath import fp, mp, mpf

mp.dps = 30
UNIT, TIE = mpf("1e-6"), mpf("1e-12")  # at a tie, floating-point numbers may be rounded to either neighbour
CORE = "claims classifier decision estimation limits noise params samples_used schema scope scope_text selection"
CORE += " signature software subject"
KINDS = {
    "l2_radius/1": "class_index kind label p_a_lower p_b_upper radius target_reached",
    "selected_sigma/1": "alpha_split estimation kind outcomes route selection settings",
    "image_radius/1": "factors kind l2 note pixels region uniform_change unit",
    "noisy_image/1": "channels columns fit image_sha256 kind of_columns of_rows rows",
    "image_tower/1": "backbone backbone_sha256 card_sha256 dtype kind logit_scale",
    "prompt/1": "kind prompt prompt_sha256 text_sha256 tuning_images",
    "bank/1": "gate gate_sha256 kind members prompt prompt_sha256 text_sha256 tuning_images",
}
KINDS |= {"l2_rendered_radius/1": KINDS["l2_radius/1"], "abstention/1": "kind p_a_lower p_b_upper reason"}
KINDS |= {"image_adapter/1": "adapter adapter_sha256 kind training_images", "no_image_radius/1": "kind reason"}
KINDS |= {"template/1": "kind template text_sha256", "zero_shot/1": "context context_sha256 kind lr samples steps"}
WINDOWS = {"percentile/1": "high high_percent kind low low_percent method", "full_range/1": "kind"}
WINDOWS |= {"header/1": "centre function kind number of width", "preset/1": "centre function kind modality name width"}
WINDOWS |= {"request/1": "centre function kind width", "header_table/1": "kind number of"}
LATTICE = " rendered_centre rendered_width"
WINDOWS |= {of[:-1] + "2": fields + LATTICE for of, fields in WINDOWS.items() if "centre" in fields}
WINDOWS = {kind: " ".join(sorted(fields.split())) for kind, fields in WINDOWS.items()}
KINDS |= WINDOWS | {"window_cell/1": "centre function kind width", "window_box/1": (box := "centre kind width")}
KINDS |= {"header_windows/1": "kind", "windows/1": "kind windows", "shifts/1": "kind pixels", "frames/1": "frames kind"}
KINDS |= {"jpeg_qualities/1": "kind quality", "bit_depths/1": "bits kind", "region_shifts/1": "kind pixels step"}
KINDS |= {"window/1": "kind window", "jpeg/1": "encoder kind quality", "bits/1": "bits kind", "frame/1": "kind offset"}
KINDS |= {"fixed": box, "window_bounds/1": box, "preset": "kind preset", "shift/1": "down kind right"}
KINDS |= {"rejection/1": "kind rejection_index rejection_sha256"}
KINDS |= {"region/1": KINDS["shift/1"], "row": "estimation input_sha256 key p_a_lower p_b_upper radius rendering"}
KINDS |= {"unsmoothed_variants/1": "class_index counterexample held invalid kind lists per_class rows text"}
KINDS["variants/1"] = "asked_radius class_index counterexample held kind lists n radius rows rule text"
KINDS["parameters/1"] = "centre class_index estimation key kind lattice limits p_a_lower p_b_upper reach sigma text"
KINDS["parameters/1"] += " values_sha256 width"
KINDS["prediction_set/1"] = "beta calibration calibration_sha256 classes delta images kind misses_at_most n per_class"
KINDS["prediction_set/1"] += " poisoned_at_most quantiles radius single_class single_up_to text thresholds"
CLAIMS = r"(%s|abstention/1)( selected_sigma/1 (no_)?image_radius/1| (no_)?image_radius/1"
CLAIMS += "( ((unsmoothed_)?variants|parameters)/1)?( prediction_set/1)?) "
PARTS = r"image_tower/1( image_adapter/1)? (bank/1( rejection/1)?|(template/1|prompt/1)( zero_shot/1)?)"
ADAPTER = r"[a-z0-9][a-z0-9._-]{0,63}-([0-9a-f]{16}) \1[0-9a-f]{48}"  # an id ends with the first digits of its SHA-256
FORMS = CLAIMS % "l2_radius/1" + PARTS, CLAIMS % "l2_rendered_radius/1" + "noisy_image/1 " + PARTS
SHAPE, BESIDES = ("rows", "columns", "channels"), ("noisy_image/1", "image_adapter/1", "rejection/1")
HEADER = ("header_table/1", "header/1", "header/2")  # what the header of a file offers, in this order
SINGLE = "single_up_to", "single_class"
UNLIKE = "unlike the images this model was tuned on"  # the extra class of a bank: always the last, and in no other
TESTS, SCOPES = ("p_a", "p_b", "p_a_anytime", "p_b_anytime"), ("input_independent", "frozen_prompt")
SPENT = (((0.9, 0.1, 0, 0), (1, 0, 0, 0)), ((0.65, 0.1, 0.125, 0.125), (0.75, 0, 0.25, 0)))  # of alpha, on TESTS
SHARES = ((0, 1, 0), (1, 0, 0), (0, 0, 1), (0.5, 0.5, 0), (0.25, 0.25, 0.5))  # of R^2, on ln width, centre and L2
REACH, NO_REACH = ("p_a_lower", "p_b_upper", "reach"), ("0.0", "1.0", "0.0")
OWN, EXCLUSION = ("p_a_lower", "p_b_upper", "radius"), ("q_a_lower", "q_b_upper", "exclusion_radius")

integer = lambda text: number(text, "0|[1-9][0-9]{0,7}", int)
of_kind = lambda items, kind: next((item for item in items if item["kind"] == kind), None)
routing_of = lambda doc: of_kind(doc["claims"], "selected_sigma/1")  # None where the sender chose sigma
canonical = lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
counts_of = lambda part: [integer(count) for count in (*part["per_class"], part["invalid"])]
digest_of = lambda facts: sha256(canonical(facts)).hexdigest()
spell = lambda facts: " ".join(sorted(facts))
ln_beta = lambda a, b, mp=mp: mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
in_doubles = NormalDist().inv_cdf
quantile = lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1)
radius_of = lambda sigma, a, b: max(sigma / 2 * (quantile(a) - quantile(b)), 0) if 0 < a < 1 and 0 < b < 1 else 0
spelled = lambda value: format(Decimal(repr(value)), "f")  # a double, as documents write it
exp128 = lambda numerator: float(mp.exp(mpf(numerator) / 128))  # e^(numerator / 128), rounded once to a double
double = lambda text: number(text, kind=float)
is_rounded = lambda window: "rendered_width" not in window or window == rounded(window)
is_floor4 = lambda radius, exact: radius - TIE <= exact < radius + 100 * UNIT + TIE


def number(text, plain=r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,40})?", kind=mpf):
    if not re.fullmatch(plain, text):
        raise ValueError(f"{text[:40]!r} is no plain decimal number, or no integer of at most eight digits")
    return kind(text)


def cells(centres, widths):
    """The windows of the lattice that those of a box are rounded to: e^(j/64) wide, and centred at i/64 of that."""

    def width_index(width):  # the largest j with e^((j - 1/2)/64) <= width
        near = int(mp.nint(64 * mp.log(width)))
        return max(j for j in range(near - 2, near + 3) if exp128(2 * j - 1) <= width)

    for width in map(exp128, range(2 * width_index(widths[0]), 2 * width_index(widths[1]) + 1, 2)):
        first, last = (math.floor(centre / (width / 64) + 0.5) for centre in centres)
        yield from ((i * (width / 64), width) for i in range(first, last + 1))


def rounded(window):
    """The window with the one that was rendered: it is rounded to the lattice, and then must be no step."""
    centre, width = next(cells(*([double(window[name])] * 2 for name in ("centre", "width"))))
    right = width > (window["function"] == "LINEAR")
    return window | {"rendered_centre": spelled(centre), "rendered_width": spelled(width)} if right else None


def in_box(each, own, most):
    """The renderings that a box of windows stands for, and one more where there are more than `most`."""
    grey = {"centre": "127.5", "width": "255", "function": "LINEAR_EXACT"}  # of a file of 8 bits as it is
    base = own if "rendered_width" in own else grey if own.get("kind") == "full_range/1" else None
    if each["kind"] == "window_bounds/1":
        (low, high), (narrow, wide) = (map(double, each[name]) for name in ("centre", "width"))
    elif base:
        (centre, width), (by, factor) = ([double(of["centre"]), double(of["width"])] for of in (base, each))
        (low, high), (narrow, wide) = (centre - by, centre + by), (width / factor, width * factor)
    if not base or not (low <= high and (step := base["function"] == "LINEAR") < narrow <= wide):
        return []  # LINEAR is a step at the width 1
    found = [*islice(cells((low, high), (narrow, wide)), most + 1)]
    kind = {"kind": "window_cell/1", "function": base["function"]}
    return [kind | {"centre": spelled(c), "width": spelled(w)} for c, w in found] if found[0][1] > step else []


def draw(part):
    """The labels in index order, and the root of their Merkle tree by RFC 6962, section 2.1."""
    runs = [re.fullmatch(r"([0-9]{1,5})\*([0-9]{1,7})", run).groups() for run in part["labels"].split(" ")]
    labels = list(islice((int(label) for label, length in runs for _ in range(int(length))), 10**6 + 1))
    level = [sha256(b"\0" + label.to_bytes(2, "little")).digest() for label in labels]
    while len(level) > 1:  # neighbours are paired level by level, an odd last one goes up as it is
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\1" + a + b).digest() for a, b in pairs] + level[len(level) & ~1 :]
    return labels, level[0].hex()


def beta_below(a, b, x, mp=mp):
    """I_x(a, b), the regularised incomplete beta function: its continued fraction (DLMF 8.17.22) from the end."""
    if x > a / (a + b):
        return 1 - beta_below(b, a, 1 - x, mp)
    rest = mp.mpf(1)
    for m in range(int(30 + 2 * mp.sqrt(a + b)), 0, -1):
        rest = 1 - (a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)) / rest
        rest = 1 + m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)) / rest
    return mp.exp(a * mp.log(x) + b * mp.log1p(-x) - ln_beta(a, b, mp)) / (a - a * (a + b) * x / (a + 1) / rest)


def ln_m(s, n, p):
    """ln M after s of n > s / p, against "the probability is at most p": of Beta(1/2, 1/2) truncated to (p, 1]."""
    a, b = s + mpf(1) / 2, n - s + mpf(1) / 2
    mixture = ln_beta(a, b) + mp.log1p(-beta_below(a, b, p)) - mp.log(2 * mp.acos(mp.sqrt(p)))
    return mixture - s * mp.log(p) - (n - s) * mp.log1p(-p)


def reached(looks, side, p, share, tie=10_000 * TIE):
    """Whether ln M against "the probability is at most p + eta" was at least ln(1/share) at a look (n, s, other s)."""
    null, lg, ln = float(p + UNIT), fp.loggamma, fp.log  # first in doubles, without a factor that is above 0.999
    rough = lambda s, n: lg(s + 0.5) + lg(n - s + 0.5) - lg(n + 1) - s * ln(null) - (n - s) * ln(1 - null)
    above = sorted((rough(look[side], look[0]), look[side], look[0]) for look in looks if look[side] > look[0] * null)
    return any(ln_m(s, n, p + UNIT) >= -mp.log(share) - tie for _, s, n in above[-8:])


def clopper_pearson(k_a, k_2, n, share_a, share_b, p_a, p_b):
    """Whether p_a = floor6(cp_lower - eta) and p_b = raise6(min(1 - cp_lower, cp_upper) + eta), eta = 1e-6."""
    tail = lambda k, p: beta_below(mpf(k), n - k + 1, p) if k and 0 < p < 1 else k == 0 or p >= 1  # P(Bin(n, p) >= k)
    lower = lambda p: p <= 0 or tail(k_a, p + UNIT) <= share_a
    upper = lambda p: p >= 1 or lower(1 - p) or tail(n - k_2, 1 - p + UNIT) <= share_b
    return lower(p_a - TIE) and upper(p_b + TIE) and not lower(p_a + UNIT + TIE) and not upper(p_b - UNIT - TIE)


def form(doc):
    """Whether the document has the fields of the schema and no others, and claims and parts of known kinds in order."""
    yield doc["schema"] == "certrad.certificate/3" and spell(doc) == CORE
    parts, window = doc["classifier"]["parts"], doc["subject"]["window"]
    yield all(spell(each) == KINDS[each["kind"]] for each in (*doc["claims"], *parts, *([window] if window else [])))
    yield window is None or (window["kind"] in WINDOWS and is_rounded(window))
    yield all(part.get("gate", "per_sample") == "per_sample" for part in parts)
    yield {p.get("tuning_images", p.get("training_images", "recorded")) for p in parts} <= {"recorded", "not_recorded"}
    yield doc["params"]["bound"] in ("two_class", "cohen")
    yield all(re.fullmatch(ADAPTER, f"{p['adapter']} {p['adapter_sha256']}") for p in parts if "adapter" in p)
    if variants := of_kind(doc["claims"], "variants/1") or of_kind(doc["claims"], "unsmoothed_variants/1"):
        tagged = [*variants["lists"], *(row["rendering"] for row in variants["rows"])]
        windows = [window for each in tagged for window in (*each.get("windows", []), each.get("window")) if window]
        yield all(spell(each) == KINDS[each["kind"]] for each in (*tagged, *windows))
        yield all(map(is_rounded, windows))
        fields = {(spell(row), spell(row.get("estimation", {}))) for row in variants["rows"]}
        smoothed = (KINDS["row"], spell(doc["estimation"])), ("input_sha256 label rendering", "")
        yield fields <= {smoothed["rule" not in variants]} and variants.get("rule", "minimum") == "minimum"
    if doc["claims"][-1]["kind"] in ("variants/1", "unsmoothed_variants/1", "parameters/1", "prediction_set/1"):
        yield not doc["params"]["target_radius"] and not {p["kind"] for p in parts} & {"noisy_image/1", "zero_shot/1"}
    names, extra = doc["classifier"]["class_names"], of_kind(parts, "rejection/1")
    yield [at for at, name in enumerate(names) if name == UNLIKE] == ([len(names) - 1] if extra else [])
    yield not extra or (integer(extra["rejection_index"]) == len(names) - 1 and not of_kind(parts, "noisy_image/1"))
    yield not (extra and of_kind(doc["claims"], "prediction_set/1"))  # no image is known of the extra class
    yield any(re.fullmatch(form, " ".join(each["kind"] for each in (*doc["claims"], *parts))) for form in FORMS)


def stands_for(each, left, own):
    """The renderings that a list of variants stands for; only a header says itself, in `left`, how many it offers."""
    if each["kind"] in ("window_box/1", "window_bounds/1"):
        return in_box(each, own, len(left))
    most, step = (number(each.get(name, "1"), "[1-9][0-9]{0,3}", int) for name in ("pixels", "step"))
    steps = most // step if "pixels" in each else integer(each.get("frames", "1"))
    around = [str(place * step) for place in range(-steps, steps + 1)] if steps <= 64 else []
    moves = [{"down": down, "right": right} for down in around for right in around if (down, right) != ("0", "0")]
    if each["kind"] == "header_windows/1":
        offered = [*takewhile(lambda rendering: rendering.get("window", {}).get("kind") in HEADER, left)]
        groups = [[other for other in offered if other["window"]["kind"] == kind] for kind in HEADER]
        told = [(other["window"]["number"], other["window"]["of"]) for other in offered]
        right = told == [(str(at + 1), str(len(group))) for group in groups for at in range(len(group))]
        return (
            offered
            if right and offered == [each for group in groups for each in group] and not (groups[1] and groups[2])
            else []
        )
    kinds, encoder = {"fixed": "request/", "preset": "preset/"}, left[0].get("encoder") if left else None
    version = left[0].get("window", {"kind": "?"})["kind"][-1] if left else "2"  # 1: from before the lattice
    told = [w.get("preset", w) | {"kind": kinds[w["kind"]] + version} for w in each.get("windows", [])]
    told = [w | {"function": "LINEAR"} if version == "1" else rounded(w | {"function": "LINEAR"}) for w in told]
    return {
        "windows/1": [{"kind": "window/1", "window": window} for window in told],
        "jpeg_qualities/1": [{"kind": "jpeg/1", "quality": q, "encoder": encoder} for q in each.get("quality", [])],
        "bit_depths/1": [{"kind": "bits/1", "bits": bits} for bits in each.get("bits", [])],
        "frames/1": [{"kind": "frame/1", "offset": offset} for offset in around if offset != "0"],
        "shifts/1": [move | {"kind": "shift/1"} for move in moves],
        "region_shifts/1": [move | {"kind": "region/1"} for move in moves],
    }[each["kind"]]


def all_listed(claim, own):
    """Whether the variants are all those that the lists stand for, once and in order."""
    left = [row["rendering"] for row in claim["rows"]]
    for each in claim["lists"]:
        first, left = left[: len(expected := stands_for(each, left, own))], left[len(expected) :]
        if not expected or first != expected:
            return False
    return not left


def shown(rendering):
    """What renders a variant, the same for all names of one rendering: function, centre and width of a window."""
    window = rendering.get("window", rendering)
    centre, width = (window.get(f"rendered_{name}", window.get(name)) for name in ("centre", "width"))
    return str((window["function"], centre, width) if "function" in window else canonical(window))


def own_windows(doc, claim):
    """Whether one rendering has one input, and the window of the file that of the file where it is listed."""
    own, input_sha256, inputs = doc["subject"]["window"] or {}, doc["subject"]["input_sha256"], {}
    windows = [row["rendering"]["window"] for row in claim["rows"] if "window" in row["rendering"]]
    place, listed = (lambda window: (window["kind"], window.get("number"))), [each["kind"] for each in claim["lists"]]
    if own.get("kind") in HEADER:  # the window of the file is among those that the header offers
        yield all(window == own for window in windows if place(window) == place(own))
        yield "header_windows/1" not in listed or own in windows
    told = [(shown(own), input_sha256), *((shown(row["rendering"]), row["input_sha256"]) for row in claim["rows"])]
    yield all(inputs.setdefault(rendering, sha256_of) == sha256_of for rendering, sha256_of in told)
    if own.get("kind") == "full_range/1" and {*listed} & {"window_box/1", "window_bounds/1"}:
        radius = of_kind(doc["claims"], "image_radius/1")  # it names the unit, and 8 bits by the slope 1/255
        of_8 = radius and radius["unit"] == "grey level" and mp.nint(1 / number(radius["factors"]["slope"])) == 255
        yield not radius or (of_8 and radius["region"]["channels"] == "1")


def minimum_rule(doc, claim, index, share_a, share_b):
    """Every listed variant at the full alpha, for the class of the document; the smallest radius is that of all."""
    rows, n, shown = claim["rows"], integer(claim["n"]), []
    found = [claim[name] for name in ("class_index", "held", "radius", "counterexample")]
    if index is None:
        yield (rows, found) == ([], [None, None, "0.0", None])
        return
    yield n >= 10 and 1 <= len(rows) <= 10**6 // n and all_listed(claim, doc["subject"]["window"] or {})
    yield all(own_windows(doc, claim))
    pairs = {
        (doc["subject"]["input_sha256"], doc["noise"]["key"]),
        *((row["input_sha256"], row["key"]) for row in rows),
    }
    yield all(re.fullmatch("[0-9a-f]{64}", text) for pair in pairs for text in pair)
    yield all(len(set(side)) == len(pairs) for side in zip(*pairs, strict=True))  # one model input, one noise key
    for row in rows:
        (labels, root), counts = draw(row["estimation"]), counts_of(row["estimation"])
        yield len(labels) == n and Counter(dict(enumerate(counts))) == Counter(labels)
        yield root == row["estimation"]["merkle_root"] and len(counts) == len(doc["classifier"]["class_names"]) + 1
        p_a, p_b, radius = number(row["p_a_lower"]), number(row["p_b_upper"]), number(row["radius"])
        yield clopper_pearson(counts[index], max(counts[:index] + counts[index + 1 :]), n, share_a, share_b, p_a, p_b)
        yield is_floor4(radius, radius_of(number(doc["params"]["sigma"]), p_a, p_b))
        shown.append((radius, counts[index]))
    least = shown.index(min(shown))
    held = 0 < shown[least][0] >= number(claim["asked_radius"])
    yield found == [str(index), held, rows[least]["radius"], None if held else str(least)]


def without_noise(doc, claim, index):
    """The answers of the base classifier for every listed rendering: those of the class of the document, or not."""
    rows, labels = claim["rows"], [integer(row["label"]) for row in claim["rows"]]
    found = [claim[name] for name in ("class_index", "held", "counterexample")]
    other = next((str(at) for at, label in enumerate(labels) if label != index), None)
    yield found == [None if index is None else str(index), None if index is None else other is None, other]
    yield bool(rows) == (index is not None) and (not rows or all_listed(claim, doc["subject"]["window"] or {}))
    yield Counter(dict(enumerate(counts_of(claim)))) == Counter(labels)
    yield len(claim["per_class"]) == len(doc["classifier"]["class_names"]) and all(own_windows(doc, claim))
    answers = {(row["input_sha256"], row["label"]) for row in rows}
    yield len({sha256_of for sha256_of, _ in answers}) == len(answers)  # one model input, one answer


def window_noise(doc, claim, index, share_a, share_b):
    """Noise on the window too: the reach R of the class of the document, and parts of sum (change / noise)^2 < R^2."""
    window, part, found = doc["subject"]["window"] or {}, claim["estimation"], [claim[name] for name in REACH]
    yield window.get("kind") in ("header/2", "request/2", "preset/2") and claim["lattice"] == "1/64"
    yield (claim["centre"], claim["width"]) == (window["centre"], window["width"])
    yield abs(number(claim["centre"])) <= 2**16 and 1 < number(claim["width"]) <= 2**16
    yield spell(claim["sigma"]) == "ln_window_width window_centre"
    noise = [number(claim["sigma"][name]) for name in ("window_centre", "ln_window_width")]
    yield mpf("0.01") <= noise[0] <= 2**14 and mpf("0.001") <= noise[1] <= 1
    yield re.fullmatch("[0-9a-f]{64}", claim["values_sha256"])
    if index is None:
        yield (claim["class_index"], claim["key"], part, claim["limits"], *found) == (None, None, None, [], *NO_REACH)
        return
    (labels, root), counts, (p_a, p_b, stated) = draw(part), counts_of(part), map(number, found)
    yield spell(part) == spell(doc["estimation"]) and len(counts) == len(doc["classifier"]["class_names"]) + 1
    yield len(labels) == integer(doc["params"]["n"]) and Counter(dict(enumerate(counts))) == Counter(labels)
    yield root == part["merkle_root"] and claim["class_index"] == str(index)
    yield re.fullmatch("[0-9a-f]{64}", claim["key"]) and claim["key"] != doc["noise"]["key"]
    other = max(counts[:index] + counts[index + 1 :])
    yield clopper_pearson(counts[index], other, len(labels), share_a, share_b, p_a, p_b)
    reach, sigmas = radius_of(1, p_a, p_b), (*claim["sigma"].values(), doc["params"]["sigma"])  # ln width, centre, L2
    yield is_floor4(stated, reach) and len(claim["limits"]) == (len(SHARES) if stated else 0)
    for limits, shares in zip(claim["limits"], SHARES, strict=False):
        width, centre, l2 = (number(s) * reach * mp.sqrt(q) for s, q in zip(sigmas, shares, strict=True))
        exact = {"centre": centre, "l2": l2, "width_high": mp.exp(width), "width_low": -mp.exp(-width)}
        yield limits.keys() == exact.keys()
        yield all(is_floor4(number(limits[name]) * (-1) ** (exact[name] < 0), exact[name]) for name in exact)


def may_be_threshold(t, q, n, n_test, ratio):
    """Whether P(attacked count < t) <= 1.1 P(clean count < q) + 0.0005 for all shares.

    Both sides fall: intervals are halved until the left side at the lower end is below the right one at the upper.
    """
    below = lambda k, n, w, mp: 0 if w >= 1 else 1 if k > n or w <= 0 else beta_below(n - k + 1, k, 1 - w, mp)
    allowed = lambda w, mp=fp: mp.mpf("1.1") * below(q, n, w, mp) + mp.mpf("0.0005")
    moved = lambda w, mp, z, eta: mp.ncdf(z(w - eta) - mp.mpf(ratio)) - eta if w > eta else 0
    missed = lambda w, mp=fp, z=in_doubles: below(t, n_test, moved(w, mp, z, mp.mpf("1e-6")), mp)
    if t <= 0 or not 0 < q <= n or t > n_test:
        return t <= 0
    intervals, least = [(0.0, 1.0)], (2, 0)
    for low, high in intervals:  # it grows
        least = min(least, (allowed(high) - missed(high), high))
        if least[0] < -1e-8 or len(intervals) > 20_000:
            return False
        if missed(low) > allowed(high) + 1e-8:
            intervals += [(low, (low + high) / 2), ((low + high) / 2, high)]
    return allowed(mpf(least[1]), mp) - missed(mpf(least[1]), mp, quantile) >= -1e-8


def prediction_set(doc, claim, raw):
    """The set follows from counts and quantiles, these from the calibration of this classifier if its file is there."""
    counts, n_test, sigma = counts_of(doc["estimation"])[:-1], sum(counts_of(doc["estimation"])), doc["params"]["sigma"]
    images, quantiles, needed = ([integer(x) for x in claim[name]] for name in ("images", "quantiles", "thresholds"))
    n, level = integer(claim["n"]), (Fraction(claim["beta"]) - Fraction("0.0005")) / Fraction("1.1")
    ranks = [max(0, math.floor(level * (m + 1)) - integer(claim["poisoned_at_most"])) for m in images]
    rows, (up_to, single) = [*zip(images, quantiles, needed, ranks, strict=True)], map(claim.get, SINGLE)
    yield len(rows) == len(counts) and all(0 <= q <= n and (rank or not q) for _, q, _, rank in rows)
    yield (claim["per_class"] or len({*rows}) == 1) and number(claim["radius"]) >= 0 < level < 1
    fits = lambda t, q, radius: may_be_threshold(t, q, n, n_test, number(radius) / number(sigma))
    yield all(fits(t, q, claim["radius"]) for q, t in {row[1:3] for row in rows})
    yield claim["classes"] == [str(k) for k, t in enumerate(needed) if counts[k] >= t] and claim["delta"] == "0.05"
    yield (single is None) == (up_to is None) and Fraction(up_to or "0") * 100 % 1 == 0
    alone = claim["classes"] == [single] and number(up_to) >= number(claim["radius"])  # a grid loses one count at most
    yield single is None or (alone and not fits(counts[integer(single)] + 2, quantiles[integer(single)], up_to))
    yield all(fits(counts[k] + 1, q, up_to) for k, q in enumerate(quantiles) if single not in (None, str(k)))
    share = min((number(claim["misses_at_most"]) - mpf("0.0005")) / mpf("1.1"), 1 - TIE)
    before = {(math.floor(level * (m + 1)), m) for m, _, _, rank in rows if rank}  # ranks before any replacement
    yield all(share > 0 and beta_below(at, m + 1 - at, share) >= mpf("0.95") - TIE for at, m in before)
    if raw:
        card, digest = json.loads(raw), sha256(raw).hexdigest()  # the signature of the document covers this digest
        yield claim["calibration_sha256"] == digest and claim["calibration"] == f"{card['name']}-{digest[:16]}"
        yield (card["slope"], card["constant"], canonical(card)) == ("1.1", "0.0005", raw)
        yield all(card[name] == claim[name] for name in ("n", "per_class", "poisoned_at_most"))
        yield card["class_names"] == doc["classifier"]["class_names"] and card["sigma"] == sigma
        yield all(card[name] == doc["noise"][name] for name in ("law", "classifier_sha256"))
        groups = card["counts"] if card["per_class"] else [[x for y in card["counts"] for x in y]] * len(counts)
        yield images == [*map(len, groups)]
        yield quantiles == [sorted(map(integer, x))[at - 1] if at else 0 for x, at in zip(groups, ranks, strict=True)]


def noise_space(doc, image):
    """With noise on the rendered image: its radius in the image's units, and eta >= the noise's total variation."""
    claim, on_image, settings = doc["claims"][0], doc["claims"][-1], (routing_of(doc) or {}).get("settings", {})
    if on_image["kind"] == "image_radius/1":
        *resize, rounding, slope = (number(factor) for _, factor in sorted(on_image["factors"].items()))
        yield resize == [1, 1, 1] and on_image["region"] == {name: image[name] for name in SHAPE}
        least = 2 * mp.sqrt(mp.fprod(integer(image[name]) for name in SHAPE)) / 2**34  # of float64, and raised a little
        yield least <= rounding <= least * (1 + mpf(10) ** -8)
        yield is_floor4(number(on_image["l2"]), (number(claim["radius"]) - rounding) / slope)
    sigmas = [doc["params"]["sigma"], *settings.get("sigmas", []), settings.get("selector_sigma", "0")]
    s, u = 255 * max(map(number, sigmas)), mpf(2) ** -53
    drawn = 8.9e-15 + 2 * s * 8.7e-16 if doc["noise"]["law"] == "philox-ziggurat-f64" else (53.92 * s + 3) * u
    yield mp.fprod(integer(image[name]) for name in SHAPE) * (drawn + 2 * u * (2.4 * s + 510)) <= UNIT


def is_signed(doc):
    """Whether it is what the holder of the key that it names has signed, in the one spelling of that signature."""
    try:
        holder, value = bytes.fromhex(doc["signature"]["public_key"]), bytes.fromhex(doc["signature"]["value"])
        Ed25519PublicKey.from_public_bytes(holder).verify(value, canonical({**doc, "signature": None}))
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return False
    return doc["signature"] == {"algorithm": "Ed25519", "public_key": holder.hex(), "value": value.hex()}


def checks(doc, raw, published, sets, card):
    claim, params, decision, every_part = doc["claims"][0], doc["params"], doc["decision"], doc["classifier"]["parts"]
    _, text, *tuned = (part for part in every_part if part["kind"] not in BESIDES)
    noisy, computing = of_kind(every_part, "noisy_image/1"), "(backbone|card|adapter|rejection)_sha256|dtype"
    yield "canonical", canonical(doc) == raw, "the bytes are not the canonical JSON of what they say"
    yield "schema", all(form(doc)), "fields, claims or parts are not those of the schema"
    seal, routing, names = doc["signature"] or {}, routing_of(doc), doc["classifier"]["class_names"]
    yield "signature", is_signed(doc), "it is not signed, or was changed after it was signed"
    key, noise = seal.get("public_key", "?"), doc["noise"]
    revoked = sha256(bytes.fromhex(key)).hexdigest() in published if re.fullmatch("[0-9a-f]{64}", key) else False
    why = ("signed by another", "signing key was revoked")[revoked] if published else "no key was given"
    yield "issuer", key in published if published else None, why
    committed = f'"{noise["epoch_sha256"]}"' in published if '"epochs"' in published else None
    yield "epoch", committed, "not committed to" if committed is False else "no list of epochs was given"
    yield "scope", doc["scope"] == SCOPES[bool(tuned)], "the adaptation has another"
    parts = {key: part[key] for part in every_part for key in part if re.fullmatch(computing, key)}
    parts |= {"text_sha256": text["text_sha256"], "gate_sha256": text.get("gate_sha256")}
    parts |= {"zero_shot": {k: tuned[0][k] for k in ("steps", "samples", "lr", "context")} if tuned else None}
    parts |= {"image_map": {k: noisy[k] for k in noisy if k not in ("kind", "image_sha256")}} if noisy else {}
    yield "noise_space", not noisy or all(noise_space(doc, noisy)), "noisy image, radius in its units or eta contradict"
    chosen = {key: params[key] for key in ("alpha", "n", "n0", "sigma", "target_radius")}
    chosen["bound"] = None if len(names) == 2 else params["bound"]
    chosen["sigma"] = routing["settings"] if routing else params["sigma"]
    if variants := of_kind(doc["claims"], "variants/1"):
        chosen["variants"] = {"lists": variants["lists"], "n": variants["n"], "radius": variants["asked_radius"]}
    if unsmoothed := of_kind(doc["claims"], "unsmoothed_variants/1"):
        chosen["variants"] = {"lists": unsmoothed["lists"], "n": "1", "radius": "0.0", "base": "unsmoothed"}
    if parameters := of_kind(doc["claims"], "parameters/1"):
        chosen["parameter_sigma"] = parameters["sigma"]
    if set_claim := of_kind(doc["claims"], "prediction_set/1"):
        names_of = {"sha256": "calibration_sha256"} | {name: name for name in ("beta", "calibration", "radius")}
        chosen["prediction_set"] = {name: set_claim[field] for name, field in names_of.items()}
    digests = noise["classifier_sha256"], noise["settings_sha256"]
    right = digests == (digest_of({**parts, "law": noise["law"]}), digest_of(chosen))
    yield "settings", right, "the classifier or the settings in the noise key are others"
    counted = all(Counter(dict(enumerate(counts_of(part)))) == Counter(labels) for part, labels, _ in sets)
    yield "labels", counted, "the labels do not count to per_class and invalid"
    yield "merkle_root", all(part["merkle_root"] == root for part, _, root in sets), "it is that of other labels"
    n0, n, targeted = integer(params["n0"]), integer(params["n"]), params["target_radius"] is not None
    drawn, every = [len(labels) for _, labels, _ in sets], integer(decision["look_every"] or str(n))
    selections = [sum(counts_of(part["selection"])) for part in (doc, routing) if part]
    used = integer(doc["samples_used"]) == sum(selections) + sum(drawn) and set(selections) == {n0}
    used = used and 10 <= n0 <= n <= 10**6
    stop = targeted and decision["rule"] != "clopper_pearson" and drawn[0] < n and drawn[0] % every == 0
    yield "samples", used and (set(drawn) == {n} or stop), "neither n0 and n samples nor a stop at a look"
    alpha, share = number(params["alpha"]), {test: number(params["alpha_split"][test]) for test in TESTS}
    spent = SPENT[targeted][params["bound"] == "cohen" or len(names) == 2]
    of_selector = [number(routing["alpha_split"][test]) for test in TESTS[:2]] if routing else []
    spends = zip([*share.values(), *of_selector], [*(s / len(selections) for s in spent), 0.45, 0.05], strict=False)
    shared = all(abs(part - s * alpha) <= TIE * alpha for part, s in spends) and 0 < alpha <= mpf("0.05")
    yield "alpha_split", shared, "the shares of alpha are not those of these settings"
    counts, selected, rule = counts_of(doc["estimation"]), counts_of(doc["selection"]), decision["rule"]
    best, certified, sigma = max(selected[:-1]), claim["kind"].startswith("l2_"), number(params["sigma"])
    index = None if selected[-1] > best else selected.index(best)
    stopped = rule in ("futility", "curtailment") and index is not None
    named = certified and (integer(claim["class_index"]), claim["label"]) == (index, names[index or 0]) and not stopped
    named = named or claim.get("reason") == ("target_not_certifiable" if stopped else "no_majority")
    yield "class", named and len(names) + 1 == len(counts) == len(selected), "not what the selection samples chose"
    p_a, p_b, target = number(claim["p_a_lower"]), number(claim["p_b_upper"]), number(params["target_radius"] or "0")
    looks, seen, others = [], [0] * len(counts), 0
    for at, label in enumerate(sets[0][1] if index is not None else [], 1):
        seen[label] += 1
        others = max(others, seen[label] * (label != index))
        if at == drawn[0] or at % every == 0:
            looks.append((at, seen[index], at - others))

    def e_process():
        rest, shares = 1 - p_b, (share["p_a_anytime"], share["p_b_anytime"])
        larger = abs(rest - p_a) < TIE or (rest > p_a and reached(looks, 2, rest, shares[1]))
        more = (reached(looks, side, p + UNIT, shares[side - 1], -10_000 * TIE) for side, p in ((1, p_a), (2, rest)))
        return (p_a == 0 or reached(looks, 1, p_a, shares[0])) and larger and not any(more)

    def routes():
        votes, picks, settings = counts_of(routing["selection"]), counts_of(routing["estimation"]), routing["settings"]
        noise, route = [*map(number, [*settings["sigmas"], settings["selector_sigma"]])], votes.index(max(votes[:-1]))
        yield rule == "certified_selection" and not targeted and integer(routing["route"]) == route
        yield sigma == noise[route] and len(routing["outcomes"]) == len(noise)
        yield all(claim[field] == routing["outcomes"][route][field] for field in OWN[:2])
        for b, outcome in enumerate(routing["outcomes"]):
            part = doc["estimation"] if b == route else outcome["estimation"]
            own = counts_of(part) if part and index is not None and b < len(noise) - 1 else None
            look = own and (own[index], max(own[:index] + own[index + 1 :]), sum(own), share["p_a"], share["p_b"])
            other = b != route and (picks[route], picks[b], sum(picks), *of_selector)
            for found, fields, scale in ((look, OWN, noise[b]), (other, EXCLUSION, noise[-1])):
                low, high, radius = (number(outcome[field]) for field in fields)
                yield clopper_pearson(*found, low, high) if found else (low, high) == (0, 1)
                yield is_floor4(radius, radius_of(scale, low, high))

    exact, radius = radius_of(sigma, p_a, p_b), number(claim.get("radius", "0"))
    if routing:
        right = all(routes())
        exact = min(max(number(outcome[OWN[2]]), number(outcome[EXCLUSION[2]])) for outcome in routing["outcomes"])
    elif rule == "clopper_pearson" and index is not None:
        tried, agreeing, no_others = looks[-1]
        right = clopper_pearson(agreeing, tried - no_others, tried, share["p_a"], share["p_b"], p_a, p_b)
    else:
        right = (stopped or rule == "e_process") and e_process() if index is not None else (p_a, p_b) == (0, 1)
    yield "bounds", right and params["eta"] == "0.000001", "they do not follow from the labels by the rule"
    shown = radius > 0 and (radius == exact if routing else is_floor4(radius, exact))
    shown = shown and claim.get("target_reached") == (radius >= target if targeted else None)
    none = index is None or exact < (target if stopped else 100 * UNIT)
    yield "radius", shown if certified else none, "it does not follow from the bounds, or is not what an abstention has"
    if unsmoothed:
        right = all(without_noise(doc, unsmoothed, index if certified else None))
        yield "unsmoothed", right, "an answer is missing or has no class, or the claim does not follow from them"
    if variants:
        right = all(minimum_rule(doc, variants, index if certified else None, share["p_a"], share["p_b"]))
        yield "variants", right, "one is missing or is another, or the claim does not follow by the minimum rule"
    if parameters:
        right = all(window_noise(doc, parameters, index if certified else None, share["p_a"], share["p_b"]))
        yield "parameters", right, "the claim about noise on the window does not follow from its labels"
    if set_claim:
        right = all(prediction_set(doc, set_claim, card))
        yield "prediction_set", right, "it does not follow from counts or calibration"
        signed = is_signed(json.loads(card)) if card else None
        ours = signed and (not published or json.loads(card)["signature"]["public_key"] in published)
        yield "calibration", ours, "not signed by this issuer" if card else "no file of the calibration was given"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--calibration", type=Path)
    options, refused = parser.parse_args(), 0
    raw, published = options.file.read_bytes(), (options.key.read_text() or "nothing") if options.key else ""
    card = options.calibration.read_bytes() if options.calibration else b""
    try:
        routes = routing_of(doc := json.loads(raw)) or {"outcomes": []}
        if len(raw) > 8 << 20 or len(routes["outcomes"]) > 9:
            raise ValueError("it is longer than any certificate")
        parts = doc["estimation"], routes.get("estimation"), *(route["estimation"] for route in routes["outcomes"])
        for name, holds, why in checks(doc, raw, published, [(part, *draw(part)) for part in parts if part], card):
            print(f"ok       {name}" if holds else f"{'skipped ' if holds is None else 'REFUSED '} {name}: {why}")
            refused += holds is not None and not holds
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        print(f"REFUSED  form: {type(error).__name__}: {error}")
        refused += 1
    print(("NOT VALID" if refused else "valid") + ("" if published else "; issuer not checked"))
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
