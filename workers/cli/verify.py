"""`certrad verify`: checks a certificate by itself and, with its image, by sampling on this machine."""

from argparse import Namespace
from collections.abc import Iterator

from certrad.models.types.smoothing import N_MAX
from certrad.workers.cli.common import add_json
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import existing, integer, region


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("file", existing("file"), "certificate: the document, a DSSE envelope or a JWS")
    parser.option(
        "--key",
        existing("file"),
        "keys of the issuer: its /.well-known/certrad-keys, saved; or PEM, a JSON Web Key Set, or a key in hexadecimal",
    )
    parser.option(
        "--time-stamp", existing("file"), "RFC 3161 time stamp of the certificate, for a key that was revoked later"
    )
    parser.option(
        "--tsa-certificates",
        existing("file"),
        "PEM certificates of the time-stamping authorities that you trust; needs --time-stamp",
        without="`CERTRAD_TSA_CERTIFICATES`",
    )
    parser.option(
        "--calibration", existing("file"), "file of the calibration that a prediction set names, to compare with it"
    )
    parser.option("--image", existing("file"), "image the certificate is about, to compare with it")
    parser.option("--frame", integer(1), "frame of a multi-frame image")
    parser.option("--region", region(), "part of the image that was classified, in pixels")
    parser.option("--replay", integer(1, N_MAX), "number of samples to draw again here; needs --image")
    parser.flag("--fresh", "draw as many samples of other noise here; needs --image")
    add_data_dir(parser)
    add_json(parser)
    parser.check(_needs_others)


def _needs_others(options: Namespace) -> Iterator[str]:
    if options.tsa_certificates is not None and options.time_stamp is None:
        yield "`--time-stamp` must be given with `--tsa-certificates`"
    given = [name for name in ("replay", "fresh", "frame", "region") if getattr(options, name)]
    if given and options.image is None:
        yield f"`--image` must be given with {' and '.join(f'`--{name}`' for name in given)}"


def run(options: Namespace) -> int:
    """Checks the certificate and prints.

    Returns:
        The exit code: 0 valid, 1 not valid.
    """
    from certrad.workers.offline import verification

    return verification.verify_document(options)
