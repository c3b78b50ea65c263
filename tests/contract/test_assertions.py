"""The tests themselves: each checks something, and no assertion holds whatever the code does."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py"))
CHECKS = {
    *("raises", "refused", "wait_for", "decodes_or_rejects"),  # they assert
    "expect",  # of a browser: what follows it waits, and raises in the end
    *("verify", "require_within", "load_backbone", "validate"),  # the test is that they do not raise
}
"""Functions that raise where a promise is broken, so that a test which calls one needs no `assert` of its own."""


def is_always_true(test: ast.expr) -> bool:
    """Returns whether an asserted expression is always true: a constant, an object that is no value, or `x == x`."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return bool(elements)
        case ast.GeneratorExp() | ast.Lambda() | ast.JoinedStr():
            return True
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(map(is_always_true, values))
        case ast.BoolOp(op=ast.And(), values=values):
            return all(map(is_always_true, values))
        case ast.Compare(left=ast.Call(func=ast.Name("len")), ops=[ast.GtE()], comparators=[ast.Constant(value=0)]):
            return True
        case ast.Compare(left=left, ops=[ast.Eq() | ast.Is() | ast.LtE() | ast.GtE()], comparators=[right]):
            calls = any(isinstance(node, ast.Call) for node in ast.walk(left))  # two calls may differ: so may two draws
            return not calls and ast.dump(left) == ast.dump(right)
        case ast.Call(func=ast.Name("all" | "isinstance"), args=[ast.List(elts=[]) | ast.Tuple(elts=[]), *_]):
            return True
    return False


def called(node: ast.AST) -> Iterator[str]:
    """The names of the functions and methods that are called anywhere in a piece of code."""
    for call in ast.walk(node):
        match call:
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                yield name


def checks(function: ast.AST) -> bool:
    """Returns whether a test asserts something, or calls what raises where a promise is broken."""
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(function))
    return asserts or any(name in CHECKS or name.startswith("assert_") for name in called(function))


def functions_of(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


@pytest.mark.parametrize("file", FILES)
def test_no_assertion_holds_whatever_happens(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assertions = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert [node.lineno for node in assertions if is_always_true(node.test)] == []


@pytest.mark.parametrize("file", FILES)
def test_every_test_checks_something(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert [test.name for test in functions_of(tree) if not checks(test)] == []


@pytest.mark.parametrize(
    "text",
    ["True", "'text'", "(x, 'message')", "[x]", "(x for x in y)", "lambda: x", "x == x", "x.y is x.y", "len(x) >= 0",
     "x or True", "all([])", "f'{x}'"],
)  # fmt: skip
def test_what_is_always_true_is_found(text: str) -> None:
    assert is_always_true(ast.parse(text, mode="eval").body)


@pytest.mark.parametrize("text", ["x", "x == y", "draw() == draw()", "len(x) >= 1", "x or y", "()", "0", "all(x)"])
def test_what_can_be_false_is_not(text: str) -> None:
    assert not is_always_true(ast.parse(text, mode="eval").body)
