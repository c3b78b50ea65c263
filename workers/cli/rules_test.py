"""`certrad rules test`: what the rules do with an image."""

import json
import os
import sys
from argparse import Namespace
from dataclasses import fields
from pathlib import Path

from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import existing
from certrad.workers.contract.rules import Certify, Decision, Header, decide
from certrad.workers.contract.rules_file import RulesError, read_rules


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument("file", existing("file"), "DICOM file, or a file with the attributes as a JSON object")
    parser.option("--rules", existing("file"), "file of rules", without="CERTRAD_RULES, else the shipped one")
    parser.flag("--json", "print machine-readable output")


def run(options: Namespace) -> int:
    """Prints which rule decides on an image, and what it decides.

    Returns:
        The exit code: 0 whether the image is certified or ignored, 2 for wrong rules, 1 for a file that is unreadable.
    """
    from certrad.models.errors import Rejected

    chosen = os.environ.get("CERTRAD_RULES")
    try:
        rules = read_rules(options.rules or (Path(chosen) if chosen else None))
    except RulesError as error:
        for problem in error.problems:
            fail(problem, BAD_USAGE)
        return BAD_USAGE
    try:
        header = _header(options.file.read_bytes())
    except (Rejected, OSError, ValueError) as error:
        return fail(f"{options.file}: {error}", FAILURE)
    decision = decide(header, rules)
    if options.json:
        sys.stdout.write(json.dumps(_told(decision)) + "\n")
    else:
        seen = ", ".join(f"{item.name} {getattr(header, item.name)!r}" for item in fields(Header))
        sys.stdout.write(f"the rules see: {seen}\n{_sentence(decision)}\n")
    return DONE


def _header(content: bytes) -> Header:
    from certrad.workers.pacs.header_file import read_header

    if content.lstrip()[:1] != b"{":
        return read_header(content, hidden=Path(os.environ.get("CERTRAD_DATA_DIR", "certrad-data")).resolve())
    given = json.loads(content)
    known = {item.name for item in fields(Header)}
    if not given.keys() <= known or not all(isinstance(value, str) for value in given.values()):
        raise ValueError(f"the attributes must be texts, of {', '.join(sorted(known))}")
    return Header(**given)


def _told(decision: Decision) -> dict[str, object]:
    if not isinstance(decision, Certify):
        return {"decision": "ignore", "rule": decision.rule, "reason": decision.reason}
    rule = decision.rule
    return {
        "decision": "certify",
        "rule": rule.name,
        "fields": dict(rule.fields),
        "destination": rule.destination,
        "instances": rule.instances,
        "max_instances": rule.max_instances,
        "outputs": list(rule.outputs),
    }


def _sentence(decision: Decision) -> str:
    if not isinstance(decision, Certify):
        by = "" if decision.rule is None else f" by the rule {decision.rule!r}"
        return f"ignored{by}: {decision.reason}"
    rule = decision.rule
    given = ", ".join(f"{name} {value}" for name, value in rule.fields.items() if name != "task")
    of = {
        "all": f"up to {rule.max_instances} instances of the series",
        "middle": f"{rule.max_instances} from the middle of the series",
        "first": f"the first {rule.max_instances} of the series",
    }[rule.instances]
    task = rule.fields.get("task", "the service's default")
    return (
        f"certified by the rule {rule.name!r}: task {task}{', ' if given else ''}{given}; {of}; "
        f"{' and '.join(rule.outputs)} stored at {rule.destination!r}"
    )
