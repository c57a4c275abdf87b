"""The table of CONTRIBUTING.md: each promise of the pages names tests that there are, in the layers
that run them."""

import ast
import itertools
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("quick", "on-ray", "long", "chaos")
MARKS = ("ray", "end_to_end", "long", "chaos")
ALONE = "Held by `make long` or `make chaos` alone"


@dataclass(frozen=True)
class Row:
    """A promise, and its tests, each with the layer that the table says."""

    section: str
    promise: str
    tests: tuple[tuple[str, str], ...]


def _rows() -> list[Row]:
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## What is promised")[2]
    rows = []
    for section in page.split("\n### ")[1:]:
        title, _, text = section.partition("\n")
        for line in text.splitlines():
            if line.startswith("|") and not line.startswith(("| promise |", "| --- |")):
                promise, layers, tests = (cell.strip() for cell in line.strip("|").split(" | "))
                named = [test.strip("`") for test in tests.split("<br>")]
                rows.append(
                    Row(title, promise, tuple(zip(layers.split("<br>"), named, strict=True)))
                )
    return rows


ROWS = _rows()
HELD = sorted({held for row in ROWS for held in row.tests}, key=lambda held: held[::-1])


@cache
def _expression(layer: str) -> str:
    """What `make LAYER` passes to pytest's option -m."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    shown = subprocess.run(
        ["make", "-n", layer],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    (marks,) = re.findall(r"-m pytest .*?-m (?:'([^']+)'|(\w+))", shown.stdout)
    return marks[0] or marks[1]


def _layers_that_run(marks: set[str]) -> set[str]:
    values = {mark: mark in marks for mark in MARKS}
    return {layer for layer in LAYERS if eval(_expression(layer), {"__builtins__": {}}, values)}


def _marks(node: ast.AST) -> set[str]:
    return {
        attribute.attr
        for attribute in ast.walk(node)
        if isinstance(attribute, ast.Attribute) and ast.unparse(attribute.value) == "pytest.mark"
    }


def _cases(decorator: ast.Call) -> list[set[str]]:
    """The marks of each case of a parametrize decorator; none where cases are not literal."""
    values = decorator.args[1]
    return (
        [_marks(case) for case in values.elts]
        if isinstance(values, ast.List | ast.Tuple)
        else [set()]
    )


def layers_of(source: str, name: str) -> set[str]:
    """The layers that run a test function or some of its cases; empty if there is no such test."""
    tree = ast.parse(source)
    own: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            own |= _marks(node.value)
    functions = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    layers: set[str] = set()
    for function in functions:
        cases = [own]
        for decorator in function.decorator_list:
            parametrized = isinstance(decorator, ast.Call) and _marks(decorator.func) == {
                "parametrize"
            }
            more = _cases(decorator) if parametrized else [_marks(decorator)]
            cases = [case | marks for case, marks in itertools.product(cases, more)]
        layers = layers.union(*(_layers_that_run(case) for case in cases))
    return layers


@pytest.mark.parametrize(("layer", "test"), HELD, ids=[f"{layer}: {test}" for layer, test in HELD])
def test_a_named_test_is_there_and_in_its_layer(layer: str, test: str) -> None:
    file, _, name = test.partition("::")
    layers = layers_of((ROOT / "tests" / file).read_text(), name)
    assert layers, f"tests/{file} has no test {name}"
    assert layer in layers, f"{name} is run by {sorted(layers)}, and CONTRIBUTING.md says {layer}"


def test_marks_of_modules_functions_and_cases_decide_the_layer() -> None:
    module = "pytestmark = [pytest.mark.ray, pytest.mark.timeout(9)]\n"
    cases = '@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.chaos)])\n'
    named = '@pytest.mark.parametrize("x", NAMES)\n'
    test = "def test_it(x): ...\n"
    assert layers_of(test, "test_it") == layers_of(named + test, "test_it") == {"quick"}
    assert layers_of(module + test, "test_it") == {"on-ray"}
    assert layers_of("@pytest.mark.end_to_end\n@pytest.mark.long\n" + test, "test_it") == {"long"}
    assert layers_of(module + cases + test, "test_it") == {"on-ray", "chaos"}
    assert layers_of(test, "test_another") == set()


def test_every_test_is_run_by_one_layer() -> None:
    for size in range(len(MARKS) + 1):
        for marks in map(set, itertools.combinations(MARKS, size)):
            if not {"long", "chaos"} <= marks:
                assert len(_layers_that_run(marks)) == 1, marks


def test_promises_of_slow_layers_alone_are_listed_apart() -> None:
    for row in ROWS:
        minutes = all(layer in ("long", "chaos") for layer, _ in row.tests)
        assert minutes == (row.section == ALONE), row.promise


def _subjects() -> list[tuple[str, str]]:
    """What the pages make promises of: the page, and the name of it there."""
    readme, nightly, cluster = (
        (ROOT / name).read_text() for name in ("README.md", "docs/nightly.md", "docs/cluster.md")
    )
    security = cluster.partition("\n## Security\n")[2].partition("\n## ")[0]
    without = {"Results", "More"}
    names = [
        ("README.md", name)
        for name in re.findall(r"^## (.+)$", readme, re.MULTILINE)
        if name not in without
    ]
    bold = re.findall(
        r"^(?:\d\. )?\*\*(.+?)\.?\*\*", nightly.partition("## What was tested")[0], re.MULTILINE
    )
    names += [("docs/nightly.md", name) for name in bold]
    inputs = re.findall(r"^\| (.+?) \|", security, re.MULTILINE)
    names += [("docs/cluster.md", name) for name in inputs if name not in ("input", "---")]
    sections = re.findall(r"^### (.+)$", security, re.MULTILINE)
    assert len(inputs) > 5 and sections, "docs/cluster.md has a section on security"
    return names + [("docs/cluster.md", name) for name in sections]


@pytest.mark.parametrize(("page", "subject"), _subjects())
def test_what_a_page_makes_promises_of_is_in_the_table(page: str, subject: str) -> None:
    begin = f"**{subject}"
    assert [row for row in ROWS if row.section == page and row.promise.startswith(begin)], (
        f"no row begins with {begin}"
    )
