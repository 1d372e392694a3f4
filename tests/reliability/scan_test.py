"""No source file runs what it reads: a new call of this kind has to be looked at first."""

import ast
import pathlib

import pytest

SOURCES = sorted((pathlib.Path(__file__).parents[2] / "l2o_tf").rglob("*.py"))
FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "dill.load",
    "joblib.load",
    "marshal.loads",
    "shelve.open",
    "yaml.load",
    "yaml.unsafe_load",
    "os.system",
    "os.popen",
    "tempfile.mktemp",
    "keras.models.load_model",
}


def name_of(node: ast.expr) -> str:
    """A dotted name as it is written; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = name_of(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def findings(source: str) -> list[str]:
    """What a source calls or derives from that runs what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            if name in FORBIDDEN:
                found.append(name)
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                if (keyword.arg, value) in {
                    ("shell", True),
                    ("allow_pickle", True),
                    ("safe_mode", False),
                }:
                    found.append(f"{name}({keyword.arg}={value})")
        if isinstance(node, ast.ClassDef):
            found += [f"class {node.name}({b})" for b in map(name_of, node.bases) if b in FORBIDDEN]
        if isinstance(node, ast.ImportFrom):
            found += [
                f"from {node.module} import {alias.name}"
                for alias in node.names
                if f"{node.module}.{alias.name}" in FORBIDDEN
            ]
    return found


def test_no_source_runs_what_it_reads():
    found = {path: findings(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert len(found) > 80 and {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "import pickle\npickle.load(file)",
        "from pickle import loads\nloads(x)",
        "yaml.load(text)",
        "subprocess.run(command, shell=True)",
        "np.load(f, allow_pickle=True)",
        "class Reader(pickle.Unpickler):\n  pass",
        "def f():\n  return exec(code)",
    ],
)
def test_the_scan_finds_them(source):
    assert findings(source)


def test_the_scan_leaves_the_rest_alone():
    assert (
        findings("re.compile(x)\nmodel.compile()\nself.eval(x)\nnp.load(f, allow_pickle=False)")
        == []
    )
