"""Malformed input of every kind ends in an InputError of one line, or is taken: never otherwise."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import string

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from l2o_tf import artifacts, cli
from l2o_tf.core import errors, files
from l2o_tf.core import flags as config_flags
from l2o_tf.run import build, config, directory, metrics
from tests.reliability import toy_run

NAMES = [field.name for field in dataclasses.fields(config.TrainConfig)]
ODD = [
    "",
    "0",
    "-1",
    "1",
    "0.5",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "9" * 30,
    "1" * 5000,
    "1_0",
    "٣",
    ",",
    ",,1",
    "1,2,3",
    "a,b",
    "{}",
    "[]",
    '{"units": -1}',
    "~",
    "~nobody",
    "\x00",
    "\udcff",
    "true",
    "True",
    "adam:nan",
    "adam:",
    ":",
    "json:dumps",
    "../..",
    "x" * 300,
    "mlp,mlp",
]
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats() | st.text(max_size=5)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
# So many inputs of each kind; FUZZ_EXAMPLES=200 tries harder.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20"))
FEW = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@contextlib.contextmanager
def one_line_at_most():
    """Lets an InputError of one line pass; all else is a traceback for the user."""
    try:
        yield
    except errors.InputError as error:
        # `cli` puts what other libraries say on one line.
        assert " ".join(str(error).split())


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """A file after what disks, editors and other programs do to files."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "zero", "repeat", "empty"]))
        if kind == "flip" and content:
            content[at] ^= draw(st.integers(1, 255))
        elif kind == "cut":
            del content[at:]
        elif kind == "insert":
            content[at:at] = draw(st.binary(max_size=40))
        elif kind == "zero":
            content[at : at + 64] = bytes(len(content[at : at + 64]))
        elif kind == "repeat":
            content += content[at:]
        elif kind == "empty":
            content = bytearray()
    return bytes(content)


@hypothesis.settings(FEW, max_examples=2 * EXAMPLES)
@hypothesis.given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(ODD) | st.text(max_size=8)), max_size=4
    )
)
def test_flags(pairs):
    with one_line_at_most():
        parsed = cli.parse(config.TrainConfig, ["train", *(f"--{k}={v}" for k, v in pairs)])
        again = parsed.resolved()
        assert again.schedule() == parsed.schedule()
        assert "\n" not in config_flags.to_flags(again, defaults=True) or "\n" in str(pairs)
        json.dumps(parsed.identity(), allow_nan=False)


@FEW
@hypothesis.given(
    st.binary(max_size=60) | st.sampled_from([b"--flagfile=x.flags", b"\xff\xfe--seed=1"])
)
def test_flagfiles(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("flags") / "x.flags"
    path.write_bytes(content)
    with one_line_at_most():
        cli.parse(config.TrainConfig, ["train", f"--flagfile={path}"])


OPTIONS = st.dictionaries(
    st.sampled_from(
        [
            "units",
            "level_sizes",
            "init_lr_range",
            "use_attention",
            "seed",
            "output_scale",
            "num_projected",
            "initial_rate",
            "learning_rate",
            "centered",
            "drift",
            "max_log_lr",
            "dynamic_output_scale",
            "self",
            "name",
        ]
    )
    | st.text(string.ascii_lowercase, max_size=4),
    JSON | st.sampled_from([[10**6], [0], [2.5], [-3], "3", [], [[1]], 1e300, 0]),
    max_size=2,
)


@FEW
@hypothesis.given(
    st.sampled_from(["dm", "rnnprop", "scale", "global_learning_rate", "trainable_adam"]), OPTIONS
)
def test_options_of_rules(rule, options):
    with one_line_at_most():
        made = build._rule(config.TrainConfig(rule=rule, rule_options=json.dumps(options)))
        weights = {key: value.numpy() for key, value in made.weights().items()}
        with tf.Graph().as_default():  # What is wrong with an option shows there, too.
            params, seed = [tf.ones([2, 3])], tf.constant([0, 1])
            passed = {key: tf.constant(value) for key, value in weights.items()}
            made.update(params, made.init(params, seed, passed), params, passed)


@FEW
@hypothesis.given(st.data())
def test_files_of_json(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("config")
    whole = json.dumps(config.TrainConfig().identity()).encode()
    deep = b"[" * 100_000
    odd = JSON.map(lambda value: json.dumps(value).encode()) | st.sampled_from(
        [deep, b'{"seed": 1e999}', b'{"seed": NaN}', b"null", b"[]", b'{"seed": %d}' % 10**400]
    )
    (folder / "config.json").write_bytes(data.draw(damaged(whole) | odd))
    with one_line_at_most():
        directory.RunDirectory(str(folder)).check(config.TrainConfig())


@FEW
@hypothesis.given(st.data())
def test_metrics(tmp_path_factory, data):
    rows = b"".join(b"%d,validation,%d,0,100,0.5,0.25,,0,new best\n" % (i, i) for i in range(1, 6))
    whole = metrics.lines(tmp_path_factory.mktemp("x"), 0) + rows
    path = tmp_path_factory.mktemp("metrics") / "metrics.csv"
    content = data.draw(damaged(whole) | st.binary(max_size=200))
    path.write_bytes(content)
    digest = hashlib.sha256(whole).hexdigest()
    with one_line_at_most():
        metrics.read_validations(path)
    with one_line_at_most():
        assert metrics.lines(path, 5, digest) == whole
    with one_line_at_most():
        metrics.MetricsFile(path, 5).close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's directory with two checkpoints, and what its structure is like."""
    path = tmp_path_factory.mktemp("run")
    parts = build.parts(config.TrainConfig(**toy_run.FLAGS))
    start = parts.trainer.initial_progress()
    made = directory.RunDirectory(str(path))
    made.save(directory.Checkpoint(start))
    made.save(directory.Checkpoint(start._replace(num_events=1)))
    metrics.MetricsFile(made.metrics, 0).close()
    made.metrics.write_bytes(metrics.lines(made.metrics, 0) + b"1,meta_loss,1,0,20,1,1,1,0,\n")
    artifacts.save_rule(path, parts.rule, card={"epoch": 3})
    return path, start


@FEW
@hypothesis.given(st.data())
def test_checkpoints(run, tmp_path_factory, data):
    path, start = run
    copy = tmp_path_factory.mktemp("copy") / "run"
    shutil.copytree(path, copy)
    first, last = sorted((copy / "checkpoints").iterdir())
    last.write_bytes(data.draw(damaged(last.read_bytes())))
    warnings = []
    found = directory.RunDirectory(str(copy)).restore(start, warnings.append)
    # What cannot be read is left aside with a warning, and training goes on from the one before.
    assert found.progress.num_events == (0 if warnings else 1)
    assert len(warnings) == last.with_name(f"{last.name}.damaged").exists()


@FEW
@hypothesis.given(st.data())
def test_states_of_checkpoints(run, tmp_path_factory, data):
    path, start = run
    copy = tmp_path_factory.mktemp("copy") / "run"
    shutil.copytree(path, copy)
    _, last = sorted((copy / "checkpoints").iterdir())
    arrays = files.read_arrays(last)
    state = json.loads(arrays["state"].tobytes())
    state[data.draw(st.sampled_from(list(state)))] = data.draw(JSON)
    content = json.dumps(state).encode()
    arrays["state"] = np.frombuffer(content, np.uint8)
    files.write_arrays(last, arrays)
    with one_line_at_most():
        directory.RunDirectory(str(copy)).restore(start, lambda _: None)


@FEW
@hypothesis.given(st.data())
def test_cards_and_weights_of_rules(run, tmp_path_factory, data):
    path, _ = run
    copy = tmp_path_factory.mktemp("rule")
    for name in (artifacts.RULE_CARD, artifacts.RULE_ARRAYS):
        shutil.copy(path / name, copy / name)
    victim = copy / data.draw(st.sampled_from([artifacts.RULE_CARD, artifacts.RULE_ARRAYS]))
    if victim.suffix == ".json" and data.draw(st.booleans()):
        card = json.loads(victim.read_bytes())
        card[data.draw(st.sampled_from(["format", "rule", "options"]))] = data.draw(JSON)
        victim.write_text(json.dumps(card))
    else:
        victim.write_bytes(data.draw(damaged(victim.read_bytes())))
    with one_line_at_most():
        rule = artifacts.load_rule(copy)
        assert all(math.isfinite(float(w)) for w in rule.weights().values())
