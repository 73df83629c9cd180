"""Clauses about what is asked: what is needed to answer, and who scores what.

Statistical ones look at fixed examples, so they give the same answer each time: with a bound of
three standard errors on what a blind guess is said to score, of four where many places are looked
at.
"""

import itertools

import jax
import numpy as np

from lstm_jax.errors import require
from lstm_jax.tasks.contract.case import Case, info_mask

SIGMAS = 4.0
CHANCE_SIGMAS = 3.0  # of what a task says a blind guess scores
PAIRS = 50  # pairs of examples that `splice` needs
_NEAR = (0, -1, -2, -3, -4, 1, 2)  # distances from the use at which `leak` looks
_FIRST = 3  # first steps at which it looks
_BINS = 24
_SOME = 1000  # values that mostly tell whether there are more than that
_SLOTS = 4  # relevant inputs of one answer that `splice` changes one at a time


def loss(case: Case) -> None:
    """The loss is finite and differentiable; a perfect prediction is correct and beats blind."""
    used = case.scored_used
    for prediction in (case.blind, case.perfect, -case.perfect):
        finite = case.score(prediction)[2]
        require(finite[used].all(), f"the loss or its gradient is not finite at {prediction[0, 0]}")
    losses, corrects, _ = case.score(case.perfect)
    require(corrects[used].all(), "correct is False for a perfect prediction")
    mean, blind_mean = losses[used].mean(), case.blind_scores[0][used].mean()
    require(
        mean < blind_mean,
        f"a perfect prediction has loss {mean:.4g}, the blind predictor {blind_mean:.4g}",
    )


def blind(case: Case) -> None:
    """The blind predictor scores `chance` and `blind_loss`."""
    task = case.task
    losses, corrects = case.blind_scores
    accuracy, accuracy_error = case.mean(corrects, counted=True)
    asked = (case.scored_used & (case.scored.lag >= task.counted_from)).sum()
    binomial = np.sqrt(task.chance * (1 - task.chance) / asked)
    require(
        abs(accuracy - task.chance) <= CHANCE_SIGMAS * max(accuracy_error, binomial),
        f"chance is {task.chance:.4f}, but the blind predictor is right on {accuracy:.4f} "
        f"of {asked} answers",
    )
    mean, error = case.mean(losses)
    require(
        abs(mean - task.blind_loss) <= CHANCE_SIGMAS * error + 1e-5 * (1 + abs(task.blind_loss)),
        f"blind_loss is {task.blind_loss:.5f}, but the blind predictor's loss is {mean:.5f} "
        f"+- {error:.5f}",
    )


def constant(case: Case) -> None:
    """No constant prediction does better than `blind`."""
    _beats_blind(case, np.zeros(case.scored_used.shape, int), "a constant prediction")


def clock(case: Case) -> None:
    """Who knows only which use it is and at which step does no better than `blind`."""
    count = np.arange(case.scored_used.shape[1])
    groups = count * (case.task.length + 1) + case.scored.use_times + 1
    _beats_blind(case, groups, "a predictor that knows only the step of the use")


def leak(case: Case) -> None:
    """Who knows one input beside the relevant ones does no better than `blind`: inputs near the
    use, by their distance from it, and the first inputs. The relevant one of a use that asks for
    nothing past is the one at the use itself. In language modelling every input is relevant."""
    if case.task.gap is None:
        return
    examples, used = case.scored, case.scored_used
    length = case.task.length
    inputs = examples.inputs if examples.inputs.ndim == 3 else examples.inputs[..., None]
    relevant = [info_mask(examples, use, length) for use in range(used.shape[1])]
    relevant = np.stack(relevant, axis=1)  # [examples, uses, time]
    relevant |= (examples.lag < 0)[..., None] & (examples.use_times[..., None] == np.arange(length))
    places = [
        (f"{-distance} steps before the use", examples.use_times + distance, distance == 0)
        for distance in _NEAR
    ] + [
        (f"at step {step}", np.full_like(examples.use_times, step), False)
        for step in range(min(_FIRST, length))
    ]
    for where, times, at_use in places:
        inside = used & (times >= 0) & (times < length)
        clipped = np.clip(times, 0, length - 1)
        rows = np.arange(len(inputs))[:, None]
        inside &= ~np.take_along_axis(relevant, clipped[..., None], axis=2)[..., 0]
        for feature in range(inputs.shape[-1]):
            values = inputs[rows, clipped, feature]
            groups = np.where(inside, _binned(values, inside), -1)
            if inside.any():
                place = "at the use itself" if at_use else where
                _beats_blind(case, groups, f"a predictor that knows feature {feature} {place}")


def _binned(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A number for each value if they are few, for each of some quantile bins if many."""
    found = np.unique(values[inside][:_SOME])
    if len(found) <= _BINS:
        found = np.unique(values[inside])
    if len(found) > _BINS:
        found = np.unique(np.quantile(values[inside], np.linspace(0, 1, _BINS + 1)[:-1]))
        return np.maximum(np.searchsorted(found, values, side="right") - 1, 0)
    return np.searchsorted(found, values)


def _beats_blind(case: Case, groups: np.ndarray, who: str) -> None:
    """Fits one prediction a group on half of the examples and compares it on the other half."""
    words = ("right more often", "at a lower loss")
    for (gain, error), what in zip(case.fitted_gains(groups), words, strict=True):
        require(
            gain <= SIGMAS * error + 1e-4,
            f"{who} is {what} than blind, by {gain:.4f} +- {error:.4f}",
        )


def oracle(case: Case) -> None:
    """From the inputs alone the oracle finds every target, or as many as `ceiling` says; of noisy
    targets, their expectations."""
    task = case.task
    if task.oracle is None:
        require(
            task.evaluation_set is not None,
            "a task that draws its evaluation sets fresh must have an oracle",
        )
        return
    answers = case.answers(case.examples.inputs)
    require(
        answers.shape == case.examples.targets.shape,
        f"oracle gives shape {list(answers.shape[1:])}: must be "
        f"{list(case.examples.targets.shape[1:])}, as the targets",
    )
    if task.noisy_targets:
        _expected(case, answers)
        return
    agree, uses = case.agree(answers, case.examples.targets)[case.used], case.used.sum()
    if task.ceiling == 1:
        require(agree.all(), f"the oracle misses {uses - agree.sum()} of {uses} targets")
    error = np.sqrt(task.ceiling * (1 - task.ceiling) / uses)
    require(
        abs(agree.mean() - task.ceiling) <= SIGMAS * error,
        f"ceiling is {task.ceiling:.5f}, but the oracle finds {agree.mean():.5f} of {uses} targets",
    )


def _expected(case: Case, answers: np.ndarray) -> None:
    """Noisy targets are the oracle's answers on average, and about any one of these."""
    noise = np.where(case.used[..., None], case.examples.targets - answers, 0)
    require(np.any(noise != 0), "noisy_targets is set, but the oracle finds every target exactly")
    for output in range(answers.shape[-1]):
        groups = _binned(answers[..., output], case.used)
        for group in np.unique(groups[case.used]):
            own = noise[..., output][case.used & (groups == group)]
            error = own.std() / np.sqrt(len(own))
            require(
                abs(own.mean()) <= SIGMAS * error,
                f"targets differ from the oracle's answers by {own.mean():.4f} +- {error:.4f} on "
                "average: the oracle must give their expectations",
            )


def splice(case: Case) -> None:
    """The answer hangs on the inputs at `info_times`, beside the question at the use itself, and on
    no others.

    Of two examples, the inputs of one at info_times and the rest of the other have the first one's
    answer, and each relevant input, changed with some of the others or alone, changes some answers.
    Steps at which the other has relevant inputs or a question stay the first one's: what stands
    there may be a marker. Where `joint` is set, relevant inputs of all uses are kept together.
    """
    task = case.task
    if task.oracle is None:
        return
    random = np.random.default_rng(0)
    truth = case.answers(case.examples.inputs)
    everywhere = case.questions
    for use in range(case.used.shape[1]):
        pairs = case.pairs(use)
        if pairs is None:
            continue  # no example has this use
        source, rest = pairs
        differ = ~case.agree(truth[source], truth[rest])[:, use]
        found = len(np.unique(source[differ]))
        require(
            found >= PAIRS,
            f"only {found} pairs of examples with different answers at use {use}: {PAIRS} are "
            "needed to test info_times",
        )
        info = case.all_infos if task.joint else case.info_mask(use)
        # What stands at the other's relevant inputs is the source's own, unless it is the source's
        # to give as well: then the other's would do, and shows if another use's input is read.
        foreign = case.all_infos[rest] & ~case.all_infos[source]
        kept = info[source] | foreign | everywhere[source] | everywhere[rest]
        answers = case.answers(case.spliced(source, rest, kept))
        wrong = ~case.agree(answers, truth[source])[:, use]
        require(
            not wrong.any(),
            "inputs at info_times of one example among the others of another do not have the first "
            f"one's answer ({wrong.sum()} of {len(wrong)} pairs): an input outside info_times "
            "changes the answer",
        )
        infos = case.examples.info_times.shape[-1]
        for slot in np.unique(np.linspace(0, infos - 1, min(infos, _SLOTS)).astype(int)):
            present = (case.examples.info_times[:, use, slot] >= 0)[[source, rest]].all(axis=0)
            if not present.any():
                continue
            others = random.integers(0, 2, (len(source), infos)).astype(bool)
            changed = []
            for own in (False, True):
                others[:, slot] = own
                changed.append(case.answers(case.moved(source, rest, use, others)))
            same = case.agree(*changed)[:, use] | ~present
            require(
                not same.all(),
                f"the input at info_times[{use}, {slot}] never changes the answer",
            )


def evaluation(case: Case) -> None:
    """Evaluation sets have their size, are fixed, disjoint, and apart from training examples."""
    sets = case.evaluation_sets
    own = case.task.evaluation_set is not None
    for split, example in sets.items():
        count = len(example.inputs)
        require(count >= 100, f"the {split} set has {count} examples: too few to tell anything")
        if own:
            again = case.task.evaluation_set(case.data, split)
            require(
                all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(example))),
                f"two calls of evaluation_set(data, {split!r}) differ",
            )
    everything = {**sets, "training": case.examples}
    for (left_name, left), (right_name, right) in itertools.combinations(everything.items(), 2):
        if own and case.task.gap is not None:
            same = not case.relevant_rows(left).isdisjoint(case.relevant_rows(right))
        else:  # drawn afresh, or short pieces of a text: one may come twice, but not all in order
            count = min(len(left.inputs), len(right.inputs))
            same = np.array_equal(left.inputs[:count], right.inputs[:count])
        require(not same, f"{left_name} and {right_name} have examples in common")
