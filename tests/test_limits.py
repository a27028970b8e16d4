"""What a reader may count on: short files, short functions, no reaching into another object's private members.

Each rule is a function from a file's text to its offenders, by line; the tests name every offender in the repository.
"""

import ast
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("soc_env", "policies", "experiments", "cyborg_bridge")
FOLDERS = (*PACKAGES, "tests", "examples")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 500, 45  # docstrings included, decorators not
FAMILY_CLASSES = {"SOCScenario", "SOCSimulator", "PaperScenario", "PaperSimulator"}
NAMED_TUPLE_METHODS = {"_replace", "_asdict", "_fields", "_make"}  # public; the underscore keeps field names free
# What other libraries call private and leaves no other way. File -> expression -> why.
FOREIGN_MEMBERS: dict[str, dict[str, str]] = {
    "cyborg_bridge/shortcuts.py": {"controller._filter_obs": "CybORG's slow method that is put aside and put back"},
    "policies/learners/update.py": {
        "torch._foreach_lerp_": "one call for all weights; torch's optimizers use it",
        "torch._fused_adam_": "one call for all weights; torch's Adam walks over them to get there",
    },
    "policies/runner/batched_env.py": {"_global_registry": "the only way to an environment by its registered name"},
    "experiments/transfer/play.py": {"os._exit": "documented: ends a process without its handlers"},
}

Offenders = list[tuple[int, str]]


def python_files(*folders: str) -> list[Path]:
    """Tracked Python files of some folders; without git (an unpacked source archive) all of them."""
    command = ["git", "ls-files", "-z", "--", *(f"{folder}/*.py" for folder in folders)]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def long_files(source: str, file: str) -> Offenders:
    lines = source.count("\n")
    return [(lines, f"{lines} lines")] if lines > MAX_FILE_LINES else []


def long_functions(source: str, file: str) -> Offenders:
    functions = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = ((node, (node.end_lineno or 0) - node.lineno + 1) for node in functions)
    return [(node.lineno, f"{node.name}: {n} lines") for node, n in lengths if n > MAX_FUNCTION_LINES]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLE_METHODS


def is_own(node: ast.Attribute, own_members: set[str]) -> bool:
    """Whether the owner of a private member is the object itself, or another one of its class by the name `other`."""
    owner = ast.unparse(node.value)
    return owner in ("self", "cls", "super()") or (owner == "other" and node.attr in own_members)


def foreign_members(source: str, file: str) -> Offenders:
    """Private members of another object or module, and private names imported from another module."""

    allowed = FOREIGN_MEMBERS.get(file, {})

    def visit(node: ast.AST, own_members: set[str]) -> Iterator[tuple[int, str]]:
        if isinstance(node, ast.ClassDef):
            attributes = (n for n in ast.walk(node) if isinstance(n, ast.Attribute))
            own_members = {n.attr for n in attributes if ast.unparse(n.value) == "self"}
        if isinstance(node, ast.ImportFrom):
            private = (alias.name for alias in node.names if is_private(alias.name))
            yield from ((node.lineno, f"imports {name}") for name in private if name not in allowed)
        is_foreign = isinstance(node, ast.Attribute) and is_private(node.attr) and not is_own(node, own_members)
        if is_foreign and (text := ast.unparse(node)) not in allowed:
            yield node.lineno, text  # type: ignore[attr-defined]
        for child in ast.iter_child_nodes(node):
            yield from visit(child, own_members)

    return list(visit(ast.parse(source), set()))


def family_tests(source: str, file: str) -> Offenders:
    """Questions of the kind "are you of soc-v1's family?"; `soc_env.registry.family_of` answers them."""
    if file == "soc_env/registry.py":
        return []
    calls = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and len(n.args) == 2)
    asked = (n for n in calls if ast.unparse(n.func) in ("isinstance", "issubclass"))
    return [
        (node.lineno, ast.unparse(node))
        for node in asked
        for part in ast.walk(node.args[1])
        if (isinstance(part, ast.Name) and part.id in FAMILY_CLASSES)
        or (isinstance(part, ast.Attribute) and part.attr in FAMILY_CLASSES)
    ]


Rule = Callable[[str, str], Offenders]


@pytest.mark.parametrize(
    ("rule", "folders"),
    [(long_files, FOLDERS), (long_functions, FOLDERS), (foreign_members, PACKAGES), (family_tests, PACKAGES)],
)
def test_every_file_keeps_the_rule(rule: Rule, folders: tuple[str, ...]) -> None:
    files = python_files(*folders)
    assert len(files) > 50
    found = [
        f"{name}:{line} {what}"
        for name, source in ((file.relative_to(ROOT).as_posix(), file.read_text()) for file in files)
        for line, what in rule(source, name)
    ]
    assert not found, f"{rule.__name__}:\n" + "\n".join(found)


def test_every_exception_is_still_needed() -> None:
    for file, members in FOREIGN_MEMBERS.items():
        source = (ROOT / file).read_text()
        assert all(member in source for member in members), f"{file} has no more use for {list(members)}"


IN_CLASS = "class A:\n    def f(self, other, x):\n        "


@pytest.mark.parametrize(
    ("rule", "source", "is_wrong"),
    [
        (long_files, "x = 1\n" * 501, True),
        (long_files, "x = 1\n" * 500, False),
        (long_functions, "def f():\n" + "    x = 1\n" * 45, True),
        (long_functions, "@a\n@b\ndef f():\n" + "    x = 1\n" * 44, False),
        (foreign_members, IN_CLASS + "return x._y", True),
        (foreign_members, IN_CLASS + "return self.x._y", True),
        (foreign_members, IN_CLASS + "return other._y", True),
        (foreign_members, IN_CLASS + "return self._y == other._y", False),
        (foreign_members, IN_CLASS + "return super()._y()", False),
        (foreign_members, IN_CLASS + "return x._replace(a=1)", False),
        (foreign_members, "import numpy\nnumpy._core", True),
        (foreign_members, "from soc_env.soc.tables import _share", True),
        (foreign_members, "from soc_env.soc import tables as _tables", False),
        (family_tests, "isinstance(x, SOCScenario)", True),
        (family_tests, "isinstance(x, (int, soc_env.PaperScenario))", True),
        (family_tests, "isinstance(x, Scenario)", False),
    ],
)
def test_a_breach_is_seen(rule: Rule, source: str, is_wrong: bool) -> None:
    assert bool(rule(source, "x.py")) == is_wrong
