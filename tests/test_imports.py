"""The architecture's arrows: who may import whom, read from the sources."""

import ast
import functools
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"cli", "pipelines", "pifa_data", "pifa_model", "zoo"}
MAY_IMPORT = {
    "pifa_data": {"pifa_data"},
    "pifa_model": {"pifa_data", "pifa_model"},
    "zoo": {"zoo"},
    "pipelines": {"pifa_data", "pifa_model", "zoo", "pipelines"},
    "cli": {"pipelines"},
}
LIGHTNING = {"pifa_model/trainer.py"}


@dataclass(frozen=True)
class Import:
    """One imported module: where, on which line, and whether it is inside a function."""

    file: str
    line: int
    module: str
    inside_function: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports_of(path: Path, name: str) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""] if not node.level else [name.split("/")[0]]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            modules = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
        else:
            continue
        for module in modules:
            yield Import(name, node.lineno, str(module), id(node) in inner)


def sources(package: str) -> list[Path]:
    return [ROOT / "cli.py"] if package == "cli" else sorted((ROOT / package).rglob("*.py"))


@functools.cache
def imports(package: str) -> list[Import]:
    return [found for path in sources(package) for found in imports_of(path, path.relative_to(ROOT).as_posix())]


def top(found: Import) -> str:
    return found.module.split(".")[0]


def test_there_is_something_to_check() -> None:
    for package in OURS:
        assert len(imports(package)) > 5, package


@pytest.mark.parametrize("package", sorted(OURS - {"cli"}))
def test_no_arrow_runs_the_wrong_way(package: str) -> None:
    wrong = [str(i) for i in imports(package) if top(i) in OURS - MAY_IMPORT[package]]
    assert not wrong


def test_no_package_imports_the_tests() -> None:
    here = {"tests", "conftest", *(path.stem for path in (ROOT / "tests").glob("*.py"))}
    assert not [str(i) for package in OURS for i in imports(package) if top(i) in here]


def test_data_side_is_free_of_torch() -> None:
    banned = {"torch", "lightning", "pytorch_lightning", "onnx", "onnxruntime", "dask", "distributed"}
    assert not [str(i) for i in imports("pifa_data") if top(i) in banned]


def test_only_the_trainer_knows_lightning() -> None:
    found = [i for package in OURS for i in imports(package) if top(i) in ("lightning", "pytorch_lightning")]
    assert {i.file for i in found} == LIGHTNING


def test_the_command_imports_pipelines_only_and_nothing_of_ours_at_its_top() -> None:
    found = [i for i in imports("cli") if top(i) in OURS]
    assert not [str(i) for i in found if not i.inside_function]
    # Names for errors, settings and listing come straight from where they are defined, inside the commands.
    straight = {i.module for i in found} - {i.module for i in found if top(i) == "pipelines"}
    allowed = {"zoo", "pifa_data.errors", "pifa_data.build", "pifa_data.readers", "pifa_model.config"}
    assert straight <= allowed


def test_heavy_modules_are_not_imported_at_the_commands_top() -> None:
    light = {"__future__", "importlib", "json", "logging", "math", "sys", "warnings", "pathlib", "typing", "rich_click"}
    assert {top(i) for i in imports("cli") if not i.inside_function} <= light


def test_a_group_that_is_read_later_imports_nothing_heavy_at_its_top_either() -> None:
    light = {"__future__", "collections", "contextlib", "gc", "json", "pathlib", "typing", "rich_click"}
    found = [i for i in imports("pipelines") if i.file.startswith("pipelines/commands/") and not i.inside_function]
    assert {top(i) for i in found if i.module != "pipelines.commands.options"} <= light


@pytest.mark.parametrize("path", [p for package in sorted(OURS) for p in sources(package) if p.name == "__init__.py"])
def test_init_hands_names_on_and_nothing_else(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        table = isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
            node.value, ast.Dict | ast.DictComp | ast.List | ast.Tuple
        )
        assert isinstance(node, ast.Import | ast.ImportFrom) or docstring or table, ast.unparse(node)


@pytest.mark.parametrize("path", [p for package in sorted(OURS) for p in sources(package) if p.name == "__init__.py"])
def test_init_writes_out_what_it_hands_on(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    imported = {alias.asname or alias.name for n in body if isinstance(n, ast.ImportFrom) for alias in n.names}
    targets = {ast.unparse(t): n.value for n in body if isinstance(n, ast.Assign) for t in n.targets}
    tables = {t for t in targets if t != "__all__"} | {
        ast.unparse(n.target) for n in body if isinstance(n, ast.AnnAssign)
    }
    if not imported:
        return
    written = ast.literal_eval(targets["__all__"])
    assert written == sorted(written, key=lambda n: (not n.isupper(), n))
    assert set(written) <= imported | tables


@pytest.mark.parametrize("path", sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "docs").glob("*.py")]))
def test_what_no_test_runs_imports_names_that_are_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in OURS:
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


HELP = """
import json, sys
from cli import main
try:
    main(["--help"])
except SystemExit as end:
    status = end.code
heavy = ("numpy", "torch", "cv2", "scipy", "zarr", "lightning", "distributed", "pydantic", "matplotlib")
ours = [n for n in sys.modules if n.startswith(("pifa_", "zoo", "pipelines.")) and n[:18] != "pipelines.commands"]
print(json.dumps({"status": status, "loaded": [n for n in heavy if n in sys.modules] + ours}), file=sys.stderr)
"""


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "align" in done.stdout
    assert json.loads(done.stderr.strip().splitlines()[-1]) == {"status": 0, "loaded": []}
