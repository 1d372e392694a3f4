"""Training as a whole: random choices, determinism, traces, skipped steps."""

import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import seeds
from l2o_tf.optimizees import scaling
from l2o_tf.rules import mixture
from l2o_tf.training import curriculum, epochs, objectives, trainer
from l2o_tf.training.lengths import RandomLength, RandomLengths
from l2o_tf.training.plan import Plan
from tests.training import problems

CURRICULUM = curriculum.Schedule(
    train_steps=(4, 8), validation_steps=(8, 12), period_epochs=2, min_periods=2
)
NO_CURRICULUM = curriculum.Schedule((4,), (4,), 3, math.inf, max_epochs=7)


def make_trainer(schedule=CURRICULUM, imitation_r=(0.3,), seed=0, weight_average=0.0, rate=0.3):
    """A small training, with meta-steps so large that the curriculum's stages soon end."""
    recipe = trainer.Recipe(
        schedule,
        imitation_r=imitation_r,
        validation_epochs=2,
        weight_average=weight_average,
        seed=seed,
    )
    teachers = mixture.OneOf([rules.from_spec(s) for s in ("adam:0.01", "sgd:0.1")])
    rule = rules.create("dm", seed=seeds.make_seed(seed, "rule"), units=(3,))
    optimizee = problems.SmallQuadratic(tf.float32)
    adam = rules.create("adam", learning_rate=rate)
    return trainer.Trainer(rule, [optimizee], adam, recipe, teachers, plan=Plan(4))


def plain(optimizee):
    """The optimizee without XLA, which takes longer than trainings of gradient descent."""
    optimizee.compiles = False
    return optimizee


@pytest.fixture(scope="module")
def events():
    made = make_trainer()
    return made, list(made.run(made.initial_progress()))


def summary(event):
    return (event.kind, event.stage, event.num_steps, event.losses.tobytes())


def arrays(progress):
    leaves = tf.nest.flatten((progress.meta, progress.validated, progress.best))
    return [np.asarray(x) for x in leaves]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(events):
    made = make_trainer()
    again = list(made.run(made.initial_progress()))
    assert list(map(summary, again)) == list(map(summary, events[1]))
    for a, b in zip(arrays(again[-1].progress), arrays(events[1][-1].progress)):
        np.testing.assert_array_equal(a, b)


def test_another_seed_gives_other_numbers(events):
    made = make_trainer(seed=1)
    assert summary(next(made.run(made.initial_progress()))) != summary(events[1][0])


@pytest.mark.slow
def test_training_goes_on_from_any_event_as_if_it_had_not_been_interrupted(events):
    _, whole = events
    made = make_trainer()
    for i in range(len(whole) - 1):
        event = next(made.run(whole[i].progress))
        assert summary(event) == summary(whole[i + 1])
        for a, b in zip(arrays(event.progress), arrays(whole[i + 1].progress)):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count, with_xla", [(10, True), (11, False)])
def test_many_optimizees_are_not_compiled_with_xla(monkeypatch, count, with_xla):
    found = []
    monkeypatch.setattr(epochs, "Epochs", lambda *args, with_xla, **options: found.append(with_xla))
    sgd = rules.from_spec("sgd:0.1")
    many = [problems.Bowl() for _ in range(count)]
    trainer.Trainer(sgd, many, sgd, trainer.Recipe(NO_CURRICULUM))
    assert set(found) == {with_xla}


def test_a_new_stage_traces_nothing_anew(events):
    made, whole = events
    assert {event.stage for event in whole} == {0, 1}, "the curriculum reached its second stage"
    compiled = made._epochs[0]
    for function in (compiled.train, compiled.imitate, compiled.validate):
        assert function.experimental_get_tracing_count() == 1


def test_the_stream_of_events_follows_the_schedule(events):
    _, whole = events
    for before, event in zip(whole, whole[1:]):
        phase = before.progress.schedule.phase
        expected = {
            curriculum.Phase.EPOCH: {"meta_loss", "imitation"},
            curriculum.Phase.VALIDATION: {"validation"},
            curriculum.Phase.BASELINE: {"baseline"},
        }[phase]
        assert event.kind in expected
        assert event.progress.num_events == before.progress.num_events + 1
    assert whole[-1].progress.schedule.phase is curriculum.Phase.FINISHED


def test_the_best_weights_are_kept_and_restored(events):
    _, whole = events
    for before, event in zip(whole, whole[1:]):
        if getattr(event, "decision", None) is curriculum.Decision.KEEP:
            expected = before.progress.meta.weights
        else:
            expected = before.progress.best
        for name, weights in expected.items():
            np.testing.assert_array_equal(event.progress.best[name], weights)
        if getattr(event, "decision", None) is curriculum.Decision.ADVANCE:
            for name, weights in event.progress.best.items():
                np.testing.assert_array_equal(event.progress.meta.weights[name], weights)


@pytest.mark.slow
def test_the_average_over_epochs_is_validated_and_kept_and_training_goes_on_from_it():
    made = make_trainer(weight_average=0.75)
    before, weights = made.initial_progress(), made.initial_progress().meta.weights
    expected, decisions = weights, set()
    for event in made.run(before):
        progress = event.progress
        if isinstance(event, trainer.EpochDone):
            for name, values in progress.meta.weights.items():
                expected = {**expected, name: 0.75 * expected[name] + 0.25 * values}
        else:
            decisions.add(event.decision)
        if getattr(event, "decision", None) is curriculum.Decision.KEEP:
            assert_equal(progress.best, expected)
            run = made._epochs[0].validate(
                expected,
                seeds.fold(made._seed("validation", before.num_events), 0),
                tf.constant(event.num_steps // 4),
            )
            np.testing.assert_allclose(run.losses, event.losses[0], rtol=1e-6)
        if getattr(event, "decision", None) is curriculum.Decision.ADVANCE:
            expected = progress.best
            assert_equal(progress.meta.weights, expected)
        assert_equal(progress.validated, expected)
        before = progress
    assert {curriculum.Decision.KEEP, curriculum.Decision.ADVANCE} <= decisions


def assert_equal(weights, expected):
    assert weights.keys() == expected.keys()
    for name, values in weights.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("final_minibatch", [False, True])
def test_validation_has_its_own_optimizee_and_its_score(final_minibatch):
    """Gradient descent with a learning rate that hardly moves, trained on a scaled problem."""
    rate, bowl = 0.1, plain(problems.Bowl())
    recipe = trainer.Recipe(
        curriculum.Schedule((8,), (8,), 1, math.inf, max_epochs=1),
        validation_epochs=2,
        validate_final_minibatch=final_minibatch,
    )
    made = trainer.Trainer(
        rules.from_spec(f"sgd:{rate}"),
        [scaling.RandomScaling(bowl)],
        rules.from_spec("sgd:1e-12"),
        recipe,
        validation_optimizees=[bowl],
        plan=Plan(4),
    )
    epoch, validation = made.run(made.initial_progress())
    t, c = np.arange(9)[:, None], problems.BOWL_CURVATURES
    losses = np.sum(c * ((1 - rate * c) ** t * problems.BOWL_START) ** 2, axis=1) / 2
    expected = losses[8] if final_minibatch else losses[4:8].mean()
    np.testing.assert_allclose(validation.loss, expected, rtol=1e-5)
    assert abs(epoch.losses[0] - losses[:5].mean()) > 0.01  # Scaled coordinates descend otherwise.


class Offset(problems.Bowl):
    """A bowl of another size, with a floor."""

    def loss(self, params, batch):
        return 100 * super().loss(params, batch) + 3


def test_of_several_optimizees_each_counts_alike_in_a_validation():
    """Three trajectories on the first and two on the second: the score is no mean over all."""
    rate = 0.003
    recipe = trainer.Recipe(
        curriculum.Schedule((8,), (8,), 1, math.inf, max_epochs=1), validation_epochs=5
    )
    made = trainer.Trainer(
        rules.from_spec(f"sgd:{rate}"),
        [plain(problems.Bowl()), plain(Offset())],
        rules.from_spec("sgd:1e-12"),
        recipe,
        validation_optimizees=[plain(problems.Bowl()), plain(Offset())],
        plan=Plan(4),
        optimizee_weights=(1.0, 0.0),
    )
    epoch, validation = made.run(made.initial_progress())
    t, c = np.arange(8)[:, None], problems.BOWL_CURVATURES

    def descent(c, floor):
        return np.sum(c * ((1 - rate * c) ** t * problems.BOWL_START) ** 2, axis=1) / 2 + floor

    losses = descent(c, 0), descent(100 * c, 3)
    expected = [np.log((f[4:].mean() + 1e-6) / (f[0] + 1e-6)) for f in losses]
    np.testing.assert_allclose(validation.by_optimizee, expected, rtol=1e-4)
    np.testing.assert_allclose(validation.loss, np.mean(expected), rtol=1e-4)
    assert epoch.optimizee == 0 and expected[1] < expected[0] - 0.1


def test_balanced_losses_are_those_of_an_epoch_over_its_first():
    losses, norms = [], []
    for balanced in (False, True):
        made = trainer.Trainer(
            rules.from_spec("sgd:0.003"),
            [plain(Offset())],
            rules.from_spec("sgd:1e-20"),
            trainer.Recipe(curriculum.Schedule((8,), (8,), 1, math.inf, max_epochs=1)),
            plan=Plan(4, objectives.create("sum", balanced=balanced)),
        )
        epoch = next(made.run(made.initial_progress()))
        losses.append(epoch.losses)
        norms.append(epoch.gradient_norms)
    first = 100 * np.sum(problems.BOWL_CURVATURES * problems.BOWL_START**2) / 2 + 3
    np.testing.assert_allclose(losses[1], losses[0] / first, rtol=1e-5)
    np.testing.assert_allclose(norms[1], norms[0] / first, rtol=1e-5)


def descent_without_a_curriculum():
    sgd = rules.from_spec("sgd:0.1")
    recipe = trainer.Recipe(NO_CURRICULUM, validation_epochs=2)
    return trainer.Trainer(sgd, [plain(problems.Bowl())], sgd, recipe, plan=Plan(4))


def test_without_a_curriculum_the_last_epochs_are_validated_too():
    made = descent_without_a_curriculum()
    kinds = [event.kind for event in made.run(made.initial_progress())]
    assert kinds == [*["meta_loss"] * 3, "validation"] * 2 + ["meta_loss", "validation"]


def test_a_budget_counts_the_steps_that_random_epochs_took():
    schedule = curriculum.Schedule((4,), (4,), 100, math.inf, max_steps=60)
    made = trainer.Trainer(
        rules.from_spec("sgd:0.1"),
        [plain(problems.Bowl())],
        rules.create("adam", learning_rate=1e-2),
        trainer.Recipe(schedule, validation_epochs=2),
        plan=Plan(4, lengths=RandomLengths(RandomLength(1, 2.0, 4), RandomLength(2, 3.0, 6))),
    )
    *trained, validation = made.run(made.initial_progress())
    steps = np.cumsum([epoch.num_steps for epoch in trained])
    assert [epoch.progress.schedule.steps for epoch in trained] == list(steps)
    assert steps[-2] < 60 <= steps[-1] != 4 * len(steps) and validation.kind == "validation"


@pytest.mark.parametrize("r", [0.0, 0.2, 0.7, 1.0])
def test_the_rate_of_imitation_epochs_is_r(r):
    num_draws = 10000
    seed = seeds.make_seed(0, "imitation")

    @tf.function
    def draw_all():
        return tf.map_fn(
            lambda epoch: trainer.draws_imitation(seed, epoch, r),
            tf.range(num_draws),
            fn_output_signature=tf.bool,
        )

    rate = np.mean(draw_all())
    assert abs(rate - r) <= 3 * math.sqrt(r * (1 - r) / num_draws)


def test_every_stage_has_its_r_and_the_last_goes_on():
    recipe = trainer.Recipe(CURRICULUM, imitation_r=(0.0, 0.1, 0.3))
    rates = [trainer.imitation_probability(recipe, stage) for stage in range(5)]
    assert rates == [0.0, 0.1, 0.3, 0.3, 0.3]


@pytest.mark.slow
def test_a_non_finite_gradient_skips_the_meta_step_and_is_counted():
    class Cliff(problems.SmallQuadratic):
        def loss(self, params, batch):
            return super().loss(params, batch) * tf.constant(np.nan)

    optimizee = Cliff(tf.float32)
    rule = rules.create("dm", units=(3,))
    compiled = epochs.Epochs(rule, optimizee, rules.from_spec("adam"), plan=Plan(4))
    meta = compiled.initial_state(rule.weights())
    result = compiled.train(meta, seeds.make_seed(0, "test"), tf.constant(3))
    assert int(result.meta.skipped) == 3
    for after, before in zip(tf.nest.flatten(result.meta[:3]), tf.nest.flatten(meta[:3])):
        np.testing.assert_array_equal(after, before)


@pytest.mark.slow
def test_training_lowers_the_meta_loss():
    made = make_trainer(
        curriculum.Schedule((8,), (8,), 200, math.inf, max_epochs=200), (0.0,), rate=1e-2
    )
    losses = [event.losses.mean() for event in made.run(made.initial_progress())]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    "weights, shares",
    [
        pytest.param((), (1 / 3, 1 / 3, 1 / 3), marks=pytest.mark.slow),
        ((1.0, 0.0, 3.0), (0.25, 0.0, 0.75)),
    ],
)
def test_optimizees_are_drawn_by_weight(weights, shares):
    schedule = curriculum.Schedule((4,), (4,), 1000, math.inf, max_epochs=600)
    made = trainer.Trainer(
        rules.from_spec("sgd:0.1"),
        [problems.Bowl() for _ in range(3)],
        rules.from_spec("sgd:0.1"),
        trainer.Recipe(schedule),
        plan=Plan(4),
        optimizee_weights=weights,
    )
    drawn = np.bincount([made._draw_optimizee(epoch) for epoch in range(600)], minlength=3)
    np.testing.assert_allclose(drawn / 600, shares, atol=0.06)
    assert all(count == 0 for count, share in zip(drawn, shares) if not share)


def test_validations_tell_how_far_they_are():
    made, told = descent_without_a_curriculum(), []
    next(
        event
        for event in made.run(made.initial_progress(), lambda *counts: told.append(counts))
        if event.kind == "validation"
    )
    assert told == [(0, 2), (1, 2)]
