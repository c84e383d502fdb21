"""Measures how the source is divided, at any revision: `structure.py [REVISION …] [--tree NAME=FOLDER …] [--json]`.

Sizes of folders, files and functions, private functions used once, import circles, and how many files one pass of the
operator and one replay enter. Passes are watched in the unit tests of the same revision, and left out where it has no
such function.
Without a revision the working tree is measured; `--tree` measures any other package, for comparison.
"""

import argparse
import ast
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import combinations
from pathlib import Path
from statistics import median_low
from typing import Any

Measured = dict[str, Any]
Graph = dict[str, set[str]]

ROOT = Path(__file__).resolve().parents[1]
SPREADS = ("files per folder", "lines per file", "lines per function")
PREFIX_OF = 3
"""This many files of one folder that share a name's first word count as a package."""

PASSES = {
    "reconcile an indexer": (("IndexerReconciler.reconcile",), "operator_/**/test_*reconcil*.py"),
    "reconcile a replay": (("ReplayReconciler.reconcile",), "operator_/**/test_*reconcil*.py"),
    "run a replay": (("Session.run", "Replay.run"), "service/replay/test_*.py"),
}
"""What is watched: the functions that are such a pass, and the unit tests that call them."""

WATCH = """
import json, sys
import pytest

functions, root, *tests = sys.argv[1:]
entered = {}

def watch(frame, event, _):
    file = frame.f_code.co_filename
    if event == "call" and file.startswith(root) and "/src/" in file:
        while frame is not None and frame.f_code.co_qualname not in functions.split(","):
            frame = frame.f_back
        if frame is not None:
            entered.setdefault(frame, set()).add(file.removeprefix(root))

sys.setprofile(watch)
pytest.main(["-q", "-p", "no:cacheprovider", *tests])
sys.setprofile(None)
print("\\n" + json.dumps(sorted(max(entered.values(), key=len, default=()))))
"""


def main() -> None:
    """Measures what was asked for, and prints it as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revisions", nargs="*", help="git revisions; without any, the working tree")
    parser.add_argument("--tree", action="append", default=[], metavar="NAME=FOLDER", help="another package's folder")
    parser.add_argument("--json", action="store_true", help="print everything measured as JSON")
    parser.add_argument("--no-passes", action="store_true", help="run no unit tests")
    arguments = parser.parse_args()
    report: Measured = {}
    if not (arguments.revisions or arguments.tree):
        report["working tree"] = _checkout(ROOT, with_passes=not arguments.no_passes)
    for revision in arguments.revisions:
        with tempfile.TemporaryDirectory() as folder:
            packed = _run(ROOT, "git", "archive", revision).stdout
            with tarfile.open(fileobj=BytesIO(packed)) as archive:
                archive.extractall(folder, filter="data")
            report[revision] = _checkout(Path(folder), with_passes=not arguments.no_passes)
    for name, folder in (tree.split("=", 1) for tree in arguments.tree):
        report[name] = {"programs": {name: _package(Path(folder))}}
    print(json.dumps(report, indent=2) if arguments.json else "\n\n".join(_as_text(*item) for item in report.items()))


def _checkout(root: Path, *, with_passes: bool) -> Measured:
    """A whole tree of ours: its programs, its tests, and the passes."""
    packages = sorted(path for path in root.glob("*/src/*") if (path / "__init__.py").exists())
    programs = {path.name: _package(path) for path in packages}
    tests = [_lines(path) for path in (root / "tests").rglob("*.py")]
    passes = {}
    if with_passes:
        found = {name: _pass(root, *what) for name, what in PASSES.items()}
        passes = {name: files for name, files in found.items() if files}
    return {
        "programs": programs,
        "lines": sum(program["lines"] for program in programs.values()),
        "tests": sum(tests),
        "passes": passes,
    }


def _package(package: Path) -> Measured:
    """One program: the folder of its top-level package."""
    files = sorted(package.rglob("*.py"))
    trees = {path: ast.parse(path.read_bytes()) for path in files}
    folders = Counter(str(path.parent.relative_to(package.parent)) for path in files if path.name != "__init__.py")
    functions = [
        node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    once = sum(_used_once(tree) for tree in trees.values())
    imports = _imports(package, trees)
    return {
        "lines": sum(map(_lines, files)),
        "files": len(files),
        "folders": dict(folders.most_common()),
        "files per folder": _spread(list(folders.values())),
        "lines per file": _spread([_lines(path) for path in files if path.name != "__init__.py"]),
        "lines per function": _spread([node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno]),
        "functions": len(functions),
        "private functions used once": once,
        "share used once": round(100 * once / max(1, len(functions)), 1),
        "circles of files": [sorted(circle) for circle in _circles(imports)],
        "circles of packages": sorted(_mutual(imports)),
    }


def _lines(path: Path) -> int:
    return len(path.read_bytes().splitlines())


def _spread(sizes: list[int]) -> list[int]:
    """Median, 90th percentile and maximum."""
    ordered = sorted(sizes) or [0]
    return [median_low(ordered), ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)], ordered[-1]]


def _used_once(tree: ast.Module) -> int:
    """How many functions of a module have a private name that the module uses exactly once."""
    uses = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
    )
    names = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return sum(uses[name] == 1 for name in names if name.startswith("_") and not name.endswith("__"))


def _imports(package: Path, trees: dict[Path, ast.Module]) -> Graph:
    """Which module of a package imports which other one, wherever the import is, but not for types only."""
    names = {
        path: ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in trees
    }
    modules = set(names.values())
    graph: Graph = {}
    for path, tree in trees.items():
        here = names[path].split(".") + ([""] if path.name == "__init__.py" else [])
        wanted = (target for node in _run_time(tree) for target in _targets(node, here))
        found = {target if target in modules else target.rpartition(".")[0] for target in wanted}
        graph[names[path]] = (found & modules) - {names[path]}
    return graph


def _run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, without those below `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from _run_time(child)


def _targets(node: ast.AST, here: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = [*here[: -node.level], *filter(None, [node.module])] if node.level else [str(node.module)]
        yield from (".".join([*base, name.name]) for name in node.names)


def _circles(graph: Graph) -> Iterator[set[str]]:
    """Groups of modules that reach each other."""
    reach = {name: _reachable(graph, name) for name in graph}
    seen: set[str] = set()
    for name in graph:
        circle = {other for other in reach[name] if name in reach[other]}
        if circle and name not in seen:
            seen |= circle
            yield circle


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def _mutual(graph: Graph) -> Iterator[str]:
    """Pairs of neighbours that import each other, one of them at least a package (or a prefix that could be one)."""
    groups = _groups(graph)
    edges: defaultdict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
    for name, others in graph.items():
        for other in others:
            ours, theirs = groups[name], groups[other]
            depth = next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
            if depth is not None:
                edges[ours[:depth]].add((ours[depth], theirs[depth]))
    for parent, pairs in edges.items():
        packages = {
            path[len(parent)]
            for path in groups.values()
            if path[: len(parent)] == parent and len(path) > len(parent) + 1
        }
        for one, other in combinations(sorted({name for pair in pairs for name in pair}), 2):
            if {(one, other), (other, one)} <= pairs and {one, other} & packages:
                yield ".".join([*parent[1:], f"{one} ↔ {other}"])


def _groups(modules: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Where each module belongs: its packages, and before its own name the prefix that it shares with enough others."""
    paths = {name: tuple(name.split(".")) for name in modules}
    prefixes = Counter((path[:-1], path[-1].lstrip("_").split("_")[0]) for path in paths.values())
    return {
        name: (*path[:-1], f"{first}_*", path[-1])
        if prefixes[path[:-1], first := path[-1].lstrip("_").split("_")[0]] >= PREFIX_OF
        else path
        for name, path in paths.items()
    }


def _pass(root: Path, functions: tuple[str, ...], tests: str) -> list[str]:
    """The files that the longest call of a function enters in the unit tests, with what it awaits."""
    found = [str(path) for path in sorted((root / "tests/unit").glob(tests))]
    if not found:
        return []
    sources = [*root.glob("*/src"), root / "tests", root / "benchmarks"]
    path = "PYTHONPATH=" + ":".join(map(str, sources))
    run = _run(root, "env", path, sys.executable, "-c", WATCH, ",".join(functions), f"{root}/", *found)
    return list(json.loads(run.stdout.splitlines()[-1]))


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603


def _as_text(name: str, measured: Measured) -> str:
    """A readable table: a row per program."""
    programs = measured["programs"]
    table = [["", "lines", "files", *SPREADS, "used once", "circles: files", "packages"]]
    for program, of in programs.items():
        spreads = (" ".join(map(str, of[spread])) for spread in SPREADS)
        circles = (len(of["circles of files"]), len(of["circles of packages"]))
        table.append([program, *map(str, (of["lines"], of["files"], *spreads, f"{of['share used once']} %", *circles))])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = [f"# {name}   (spreads: median, p90, maximum)"]
    text += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    text += [
        f"packages that import each other: {pair}" for of in programs.values() for pair in of["circles of packages"]
    ]
    text += [f"files entered to {what}: {len(files)}" for what, files in measured.get("passes", {}).items()]
    text += [f"lines in all: {measured['lines']}; of tests: {measured['tests']}"] if "lines" in measured else []
    return "\n".join(text)


if __name__ == "__main__":
    main()
