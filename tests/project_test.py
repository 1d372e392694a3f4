"""What surrounds the code: checks before commits, workflows, citation, changelog, container."""

import pathlib
import re
import shlex

import pytest
import yaml

import l2o_tf
from tests import packaging_test

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
EXTRAS = packaging_test.PYPROJECT["project"]["optional-dependencies"]


def read(relative):
    return (REPOSITORY / relative).read_text(encoding="utf-8")


def test_checks_before_commits_are_those_of_ci():
    in_ci = re.findall(r'^"\$tools/([\w-]+)"(.*)', read(".ci/run"), re.MULTILINE)
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    assert len(in_ci) >= 5
    assert [hook["entry"] for hook in hooks] == [f".venv/bin/{tool}{rest}" for tool, rest in in_ci]
    assert not any(hook["pass_filenames"] for hook in hooks)


def test_the_workflow_runs_what_ci_runs():
    job = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["test"]
    assert job["steps"][-1]["run"] == "bash .ci/run"
    tested = [f"Programming Language :: Python :: {v}" for v in job["strategy"]["matrix"]["python"]]
    assert set(tested) < set(packaging_test.PYPROJECT["project"]["classifiers"])


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_issue_templates_have_what_forms_need(name):
    form = yaml.safe_load(read(f".github/ISSUE_TEMPLATE/{name}.yml"))
    assert form["name"] and form["description"]
    names = [field["id"] for field in form["body"]]
    assert len(set(names)) == len(names) >= 2
    assert all(field["attributes"]["label"] for field in form["body"])


def test_changelog_and_citation_are_of_this_version():
    versions = re.findall(r"^## \[(.*?)\](?: - (.*))?$", read("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == ("Unreleased", "") and versions[1][0] == l2o_tf.__version__
    dates = [date for _, date in versions[1:]]
    assert dates == sorted(dates, reverse=True)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in dates)
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["title"]
    assert (citation["version"], str(citation["date-released"])) == versions[1]
    paper = packaging_test.PYPROJECT["project"]["urls"]["Paper"]
    assert citation["preferred-citation"]["url"] == paper


def instructions(dockerfile):
    """The instructions of a Dockerfile, as (name, arguments)."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def test_the_container_installs_this_package_with_the_extra_for_gpus():
    found = instructions(read("docker/gpu.Dockerfile"))
    assert found[0][0] == "FROM"
    runs = [shlex.split(arguments) for name, arguments in found if name == "RUN"]
    assert ["python", "-m", "pip", "install", *EXTRAS["gpu"]] in runs
    assert ["python", "-m", "pip", "install", ".[gpu]"] in runs
    python = re.match(r"python:3\.(\d+)-slim", found[0][1]).group(1)
    assert 10 <= int(python) <= 13

    copied = [shlex.split(arguments)[:-1] for name, arguments in found if name == "COPY"]
    copied = {source for sources in copied for source in sources}
    assert all((REPOSITORY / source).exists() for source in copied)
    # All that a build reads, and nothing else, is sent to Docker and copied.
    allowed = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    assert copied == allowed
    grafted = {line.split()[1] for line in read("MANIFEST.in").splitlines()}
    assert copied >= grafted | {"l2o_tf", "pyproject.toml", "setup.py", "README.md", "LICENSE"}


def test_the_container_writes_runs_of_whoever_starts_it():
    dockerfile = read("docker/gpu.Dockerfile")
    shown = "\n".join(re.findall(r"^#   (.*)", dockerfile, re.MULTILINE)).replace("\\\n", "")
    commands = [shlex.split(line) for line in shown.splitlines()]
    names = [" ".join(words[:2]) for words in commands]
    # Docker would make a folder that is not there, as root.
    assert names == ["docker build", "mkdir -p", "docker run"] and commands[1][2:] == ["runs"]
    started = commands[2]
    assert started[started.index("--user") + 1] == "$(id -u):$(id -g)"
    assert started[started.index("--volume") + 1] == "$PWD/runs:/l2o/runs"
    found = instructions(dockerfile)
    assert found[-3:-1] == [("USER", "1000"), ("WORKDIR", "/l2o")]
    assert ("ENV", "HOME=/l2o") in found
    assert any(name == "RUN" and "chmod 1777 /l2o" in arguments for name, arguments in found)
