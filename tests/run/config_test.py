"""The flags of meta-training: what follows from what, and what is refused."""

import math
import pathlib

import pytest

from l2o_tf import cli
from l2o_tf.core import errors, flags
from l2o_tf.optimizees import scaling
from l2o_tf.run import config
from l2o_tf.run.config import TrainConfig
from l2o_tf.training import curriculum

FLAGS_DIRECTORY = pathlib.Path(__file__).parents[2] / "flags"
FLAGFILES = sorted(FLAGS_DIRECTORY.glob("*.flags"))


@pytest.mark.parametrize(
    "rule, schedule",
    [
        ("dm", curriculum.Schedule((100,), (100,), 100, math.inf, 10000)),
        ("rnnprop", curriculum.Schedule((100,), (100,), 10, math.inf, 100)),
    ],
)
def test_the_recipes_of_the_paper_without_a_curriculum(rule, schedule):
    assert TrainConfig(rule=rule).schedule() == schedule


def test_the_curriculum_of_the_paper():
    assert TrainConfig(curriculum=True).schedule() == curriculum.Schedule(
        train_steps=(100, 200, 500, 1000, 1500, 2000, 2500, 3000),
        validation_steps=(200, 500, 1000, 1500, 2000, 2500, 3000, 3500),
        period_epochs=100,
        min_periods=3,
    )


def test_only_the_lengths_that_are_used_have_to_be_multiples_of_an_unroll():
    whole = TrainConfig(num_steps=60, unroll_length=60)
    assert whole.schedule().train_steps == whole.schedule().validation_steps == (60,)
    staged = TrainConfig(curriculum=True, curriculum_steps=(30, 60), unroll_length=30)
    assert staged.schedule().train_steps == (30, 60)
    assert all(steps % 30 == 0 for steps in staged.schedule().validation_steps)


def test_the_command_of_the_readme_is_l2o_dm_with_both_techniques():
    parsed = cli.parse(
        TrainConfig, ["train", "--curriculum", "--imitation_r=0.2", "--workdir=runs/x"]
    )
    assert (parsed.rule, parsed.optimizee, parsed.dataset) == ("dm", ("mlp",), "mnist")
    assert (parsed.curriculum, parsed.imitation_r) == (True, (0.2,))
    assert parsed.teachers == ("adam:0.01", "sgd:0.1", "adagrad:0.01")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"imitation_r": (1.3,)}, "--imitation_r=1.3 must be a probability, between 0 and 1"),
        ({"imitation_r": (0.1, -0.1)}, "--imitation_r=-0.1 must be a probability"),
        ({"imitation_r": ()}, "--imitation_r= must be a list with at least one entry"),
        ({"num_steps": 110}, "--num_steps=110 must be a multiple of --unroll_length=20"),
        ({"num_steps": 0}, "--num_steps=0 must be at least 1"),
        (
            {"curriculum_steps": (200, 100), "curriculum": True},
            "--curriculum_steps=200,100 must be increasing",
        ),
        (
            {"curriculum_steps": (100, 210), "curriculum": True},
            "--curriculum_steps=210 must be a multiple",
        ),
        ({"validation_steps": (100,)}, "--validation_steps=100 needs --curriculum; without"),
        (
            {"validation_steps": (100,), "curriculum": True},
            "--validation_steps=100 must be one number for each",
        ),
        ({"meta_learning_rate": 1e300}, "--meta_learning_rate=1e+300 must be between -3.4e+38"),
        ({"unroll_length": 0}, "--unroll_length=0 must be at least 1"),
        ({"num_epochs": 0}, "--num_epochs=0 must be at least 1"),
        ({"num_epochs": 10**12}, "--num_epochs=1000000000000 must be between -2147483647 and"),
        ({"num_steps": 20 * 10**9}, "--num_steps=20000000000 must be between -2147483647 and"),
        (
            {"random_num_unrolls": (1.0, math.nan), "random_unroll_length": (1.0, 1.0, 9.0)},
            "--random_num_unrolls=nan must be a finite number",
        ),
        ({"checkpoint_seconds": -1.0}, "--checkpoint_seconds=-1.0 must be at least 0"),
        ({"regularizer_iterations": 0}, "--regularizer_iterations=0 must be at least 1"),
        ({"regularizer_fraction": math.nan}, "--regularizer_fraction=nan must be between 0 and"),
        ({"max_train_steps": 0}, "--max_train_steps=0 must be at least 1"),
        ({"self_improving_epochs": -1}, "--self_improving_epochs=-1 must be at least 0"),
        ({"random_scaling": math.inf}, "--random_scaling=inf must be at least 0"),
        ({"scaling_level": "layer"}, "--scaling_level=layer must be one of coordinate, tensor, gl"),
        ({"scaling_level": "mixed"}, "--scaling_level=mixed needs --random_scaling=b"),
        ({"random_num_steps": (100,)}, "--random_num_steps=100 must be low,high with 0 < low"),
        ({"random_num_steps": (200, 100)}, "--random_num_steps=200,100 must be low,high"),
        (
            {"random_num_steps": (100, 200), "curriculum": True},
            "--curriculum cannot be combined with --random_num_steps",
        ),
        ({"meta_weight_decay": -1.0}, "--meta_weight_decay=-1.0 must be at least 0"),
        ({"weight_average": 1.0}, "--weight_average=1.0 must be at least 0 and less than 1"),
        ({"evolution_pairs": 0}, "--evolution_pairs=0 must be at least 1"),
        ({"evolution_stddev": 0.0}, "--evolution_stddev=0.0 must be a positive number"),
        ({"imitation_choice": "run"}, "--imitation_choice=run must be one of epoch, unroll"),
        ({"validation_score": "x"}, "--validation_score=x must be one of last_unroll, final_mi"),
        ({"teacher_weights": (1.0,)}, "--teacher_weights=1.0 must be one number for each of the 3"),
        ({"optimizee_weights": (1.0, 2.0)}, "--optimizee_weights=1.0,2.0 must be one number for "),
        ({"optimizee_weights": (0.0,)}, "--optimizee_weights=0.0 must be at least 0, and one"),
        (
            {"self_improving_epochs": 9, "self_improving_share": 1.1},
            "--self_improving_share=1.1 must be in (0, 1]",
        ),
        ({"self_improving_share": 1.0}, "--self_improving_share=1.0 needs --self_improving_epo"),
        ({"optimizee": ("mlp", "mlp")}, "--optimizee=mlp,mlp must be different names"),
        (
            {"optimizee": ("mlp", "lenet"), "validation_epochs": 1},
            "--validation_epochs=1 must be at least 2, a trajectory on each of --optimizee",
        ),
        (
            {"balance_losses": True, "objective": "log"},
            "--balance_losses is for --objective=sum; --objective=log divides by",
        ),
        ({"optimizee_weights": (1.0,), "problem_sets": ("bowl",)}, "--optimizee_weights cannot be"),
        ({"teacher_weights": (0.0,) * 3}, "--teacher_weights=0.0,0.0,0.0 must be at least 0, and"),
        ({"estimator": "es", "second_derivatives": True}, "--second_derivatives needs --estim"),
        (
            {"imitation_choice": "unroll", "self_improving_epochs": 9},
            "--imitation_choice=unroll cannot be combined with --self_improving_epochs=9",
        ),
        ({"objective": "max"}, "--objective=max must be one of sum, mean, log"),
        ({"meta_optimizer": "sgd"}, "--meta_optimizer=sgd must be one of adam, rmsprop"),
        ({"regularizer": "x"}, "--regularizer=x must be one of none, jacob, hessian"),
        ({"early_stop": 1.0}, "--early_stop=1.0 must be above 1"),
        ({"l2_reg": -1.0}, "--l2_reg=-1.0 must be at least 0"),
        ({"rule_options": "{"}, "--rule_options={: "),
        ({"rule_options": "3"}, "--rule_options=3 must be a JSON object"),
        ({"random_num_unrolls": (1.0, 40.0)}, "--random_num_unrolls and --random_unroll_length"),
        (
            {"random_num_unrolls": (1.0, 40.0), "random_unroll_length": (5.0, 2.0)},
            "--random_unroll_length=5.0,2.0 must be minimum,scale,maximum",
        ),
        (
            {
                "random_num_unrolls": (1.0, 40.0),
                "random_unroll_length": (5.0, 2.0, 9.0),
                "curriculum": True,
            },
            "--curriculum cannot be combined with random lengths",
        ),
        (
            {"keep_state": True, "estimator": "es"},
            "--keep_state needs --estimator=bptt and a single",
        ),
        (
            {"keep_state": True, "trajectories_per_step": 2},
            "--keep_state needs --trajectories_per_step=1 and --strategy=none",
        ),
        (
            {"keep_state": True, "strategy": "mirrored"},
            "--keep_state needs --trajectories_per_step=1 and --strategy=none",
        ),
        (
            {"strategy": "multi_worker", "seeds": (0, 1)},
            "--strategy=multi_worker cannot be combined with --seeds",
        ),
        ({"strategy": "ps"}, "--strategy=ps must be one of none, mirrored, multi_worker"),
        ({"trajectories_per_step": 0}, "--trajectories_per_step=0 must be from 1 to 1000"),
        ({"scoring_examples": 10}, "--scoring_examples=10 needs --problem_sets"),
        ({"seed": -1}, "--seed=-1 must be between 0 and 2147483647"),
        ({"meta_learning_rate": 0.0}, "--meta_learning_rate=0.0 must be a positive number"),
        ({"meta_learning_rate": math.nan}, "--meta_learning_rate=nan must be a positive"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(values, message):
    with pytest.raises(errors.InputError) as error:
        TrainConfig(**values)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_resumed_run_must_have_the_same_flags():
    run = TrainConfig(workdir="a", seed=1, imitation_r=(0.1, 0.3))
    config.check_same_run(TrainConfig(workdir="b", seed=1, imitation_r=(0.1, 0.3)), run.identity())
    with pytest.raises(errors.InputError) as error:
        config.check_same_run(TrainConfig(workdir="b"), run.identity())
    assert "--imitation_r=0.0 (it has 0.1,0.3), --seed=0 (it has 1)" in str(error.value)


def test_a_run_of_an_older_version_is_resumed_with_the_defaults_of_later_flags():
    recorded = TrainConfig().identity()
    del recorded["estimator"]
    config.check_same_run(TrainConfig(workdir="b"), recorded)
    with pytest.raises(errors.InputError, match=r"--estimator=es \(it has bptt\)"):
        config.check_same_run(TrainConfig(workdir="b", estimator="es"), recorded)


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_every_flagfile_parses_and_explains_itself(path):
    parsed = cli.parse(TrainConfig, ["train", f"--flagfile={path}"])
    assert parsed.schedule().period_epochs in (4, 5, 10, 20, 25, 50, 100)
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert len(comments) >= 3 and comments[2].startswith("# Cost: ")


def test_there_is_a_flagfile_for_each_system_of_the_paper_and_of_the_legacy_code():
    dm = {f"l2o_dm{suffix}" for suffix in ("", "_aug", "_cl", "_il", "_cl_il")}
    systems = {*dm, "rnnprop", "rnnprop_cl_il"}
    assert {path.stem for path in FLAGFILES} >= {
        *systems,
        *(f"legacy_{name}" for name in systems),
        "l2o_dm_si",
        *(f"l2o_scale{suffix}" for suffix in ("", "_cl_il", "_il", "_si", "_meta")),
        *(f"legacy_l2o_scale{suffix}" for suffix in ("", "_cl_il", "_meta")),
    }


def test_the_legacy_flagfiles_have_the_legacy_choices():
    for path in FLAGFILES:
        if not path.stem.startswith("legacy_"):
            continue
        parsed = cli.parse(TrainConfig, ["train", f"--flagfile={path}"])
        stages = parsed.schedule()
        assert parsed.validation_score == "final_minibatch", path.stem
        assert stages.period_epochs == (10 if parsed.rule == "rnnprop" else 100), path.stem
        if any(parsed.imitation_r):
            assert parsed.teachers == ("adam:0.01",), path.stem
        if parsed.rule == "scale":
            assert (parsed.objective, parsed.meta_optimizer) == ("log", "rmsprop"), path.stem
            assert parsed.second_derivatives and parsed.scoring_examples >= 10000, path.stem
        elif parsed.curriculum:
            assert stages.train_steps == (100, 200, 500, 1000, 1500, 2000, 2500)
            assert stages.validation_steps == (200, 500, 1000, 1500, 2000, 2500, 3000)
    # The legacy L2O-Scale ends with the stage whose validations are as long as its list goes.
    path = FLAGS_DIRECTORY / "legacy_l2o_scale_cl_il.flags"
    stages = cli.parse(TrainConfig, ["train", f"--flagfile={path}"]).schedule()
    assert (stages.train_steps[-1], stages.validation_steps[-1]) == (4500, 5000)
    path = FLAGS_DIRECTORY / "legacy_l2o_dm_cl_il.flags"
    parsed = cli.parse(TrainConfig, ["train", f"--flagfile={path}"])
    assert parsed.imitation_r == (0.0, 0.1, 0.3)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"curriculum": True},
        {"rule": "rnnprop", "teacher_weights": (1.0, 2.0, 0.0)},
        {"max_train_steps": 3000},
        {"meta_optimizer": "rmsprop", "init_lr_range": (0.1, 1.0)},
    ],
)
def test_the_resolved_flags_describe_the_same_run(values):
    made = TrainConfig(**values)
    again = cli.parse(TrainConfig, ["train", *flags.to_flags(made.resolved(), True).split()])
    assert again.schedule() == made.schedule()
    assert again.resolved() == made.resolved() == again
    assert again.period_epochs is not None and again.teacher_weights is not None


def test_a_budget_of_steps_replaces_the_number_of_epochs():
    assert TrainConfig(max_train_steps=3000).schedule() == curriculum.Schedule(
        (100,), (100,), 100, math.inf, math.inf, max_steps=3000
    )


def test_a_budget_of_steps_is_shared_by_all_trajectories():
    flags = TrainConfig(max_train_steps=4000, trajectories_per_step=2)
    assert flags.schedule().trajectories == 2
    assert flags.schedule(num_replicas=3).trajectories == 6


def test_the_levels_of_scaling_are_those_of_the_optimizee():
    for level in scaling.LEVELS:
        assert TrainConfig(random_scaling=1.0, scaling_level=level).scaling_level == level
