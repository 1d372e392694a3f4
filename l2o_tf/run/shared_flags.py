"""Flags that several commands have: makers of fields, because no two dataclasses share one."""

from typing import Any

from l2o_tf.core.flags import flag

WHAT, LENGTH, FILES = "What to run", "How long", "Files"


def rules(and_others: str) -> Any:
    """Rules to run beside each other; `and_others` are the kinds that not every command takes."""
    return flag(
        (),
        "Rules, separated by commas: a run directory, an exported rule, a pretrained name, a "
        f"legacy .l2l file{and_others}; label=RULE gives it another name.",
        WHAT,
    )


def optimizee_options(group: str = WHAT) -> Any:
    """Options of optimizees."""
    return flag(
        "",
        "Options of the optimizees as JSON, such as "
        '{"relu_logits": false, "optimize_batch_norm": true} for conv_mnist, conv_cifar, '
        'nas_cifar, lenet and cifar_multi; under the name of an optimizee, {"lenet": {...}}, those '
        "of it alone.",
        group,
    )


def first_seed(competitors: str) -> Any:
    """The first of the seeds, the same for all `competitors`."""
    return flag(0, f"The first seed; all {competitors} share initial values and batches.", LENGTH)


def jobs(more: str = "") -> Any:
    """How many processes work side by side; `more` ends the sentence."""
    return flag(1, f"Processes side by side, which share the CPUs{more}.", LENGTH)


def workdir(owner: str, work: str) -> Any:
    """The directory that a command needs: its `owner` in the genitive, and the `work` in it."""
    return flag("", f"The {owner} directory. An interrupted {work} goes on where it was.", FILES)


def data_dir(identity: bool = True) -> Any:
    """Where TensorFlow Datasets keeps its data sets; `identity` as in `flag`."""
    return flag(
        None,
        "Where the data sets are. Default: TFDS_DATA_DIR or ~/tensorflow_datasets.",
        FILES,
        identity,
    )
