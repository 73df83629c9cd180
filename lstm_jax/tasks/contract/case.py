"""A task at one gap under examination: examples drawn once and shared by all clauses."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import keys
from lstm_jax.arrays import PyTree
from lstm_jax.programs import quick_jit
from lstm_jax.tasks.base import EVALUATION_SIZES, Example, Split, Task, noise_free

DRAWN = 2048  # examples that the clauses look at; where nothing is scored on them, an eighth
_SEED = 20150827  # any: the examples that clauses look at are fixed
_GROUP = 50  # uses from which a prediction is fitted
_QUANTILES = np.linspace(0.1, 0.9, 9)


@dataclasses.dataclass(eq=False)
class Case:
    """A task, its data, and what the clauses ask of it.

    All arrays are NumPy; everything compiled is compiled once a case.

    Attributes:
      argument: what the constructor was given: the gap, or the length.
      task: the task.
      data: what `task.load` returned.
    """

    argument: int
    task: Task
    data: PyTree

    @functools.cached_property
    def _compiled_sample(self):
        return quick_jit(jax.vmap(self.task.sample, in_axes=(None, 0)))

    def draw(self, key=None) -> Example:
        """Fresh examples, the same at each call with the same key."""
        key = jax.random.key(_SEED) if key is None else key
        # Of a task with evaluation sets of its own, predictors are scored on those.
        count = DRAWN if self.task.evaluation_set is None else DRAWN // 8
        drawn = self._compiled_sample(self.data, jax.random.split(key, count))
        return jax.tree.map(np.asarray, drawn)

    def traced(self) -> str:
        """The program that `sample` is, traced afresh."""
        sample = jax.jit(lambda data, key: self.task.sample(data, key))
        return sample.lower(self.data, jax.random.key(_SEED)).as_text()

    @functools.cached_property
    def examples(self) -> Example:
        """The examples that the clauses look at, batched."""
        return self.draw()

    @functools.cached_property
    def used(self) -> np.ndarray:
        """`[examples, uses]`, where a use has positive weight."""
        return self.examples.weights > 0

    @functools.cached_property
    def asked(self) -> np.ndarray:
        """`[examples, uses]`, where a use asks for something past."""
        return self.used & (self.examples.lag >= 0)

    @functools.cached_property
    def counted(self) -> np.ndarray:
        """`[examples, uses]`, where a use counts in accuracy."""
        return self.used & (self.examples.lag >= self.task.counted_from)

    @property
    def classes(self) -> bool:
        """Whether targets are classes; else they are values."""
        return np.issubdtype(self.examples.targets.dtype, np.integer)

    # Scores.

    @functools.cached_property
    def evaluation_sets(self) -> dict[Split, Example]:
        """Both evaluation sets, as `base.evaluation_set` gives them."""
        sets = {}
        for split, size in EVALUATION_SIZES.items():
            if self.task.evaluation_set is None:
                fresh = self.noise_free(self.draw(keys.evaluation(split)))
                sets[split] = Example(*(leaf[:size] for leaf in fresh))
            else:
                own = self.task.evaluation_set(self.data, split)
                sets[split] = jax.tree.map(np.asarray, own)
        return sets

    def noise_free(self, examples: Example) -> Example:
        """`base.noise_free`, in NumPy."""
        return jax.tree.map(np.asarray, noise_free(self.task, examples))

    @functools.cached_property
    def scored(self) -> Example:
        """The examples on which predictors are scored: the report set where the task has its own
        (real data), else fresh ones, their targets without noise."""
        own = self.task.evaluation_set is not None
        return self.evaluation_sets["report"] if own else self.noise_free(self.examples)

    @property
    def scored_used(self) -> np.ndarray:
        """`used` of `scored`."""
        return self.scored.weights > 0

    @functools.cached_property
    def perfect(self) -> np.ndarray:
        """`[examples, uses, output]`, a prediction that says the target."""
        targets = self.scored.targets
        if not self.classes:
            return targets.astype(np.float32)
        return 30 * (targets[..., None] == np.arange(self.task.output_size)).astype(np.float32)

    @functools.cached_property
    def blind(self) -> np.ndarray:
        """`[examples, uses, output]`, the blind prediction."""
        return self._everywhere(self.task.blind)

    @functools.cached_property
    def loss_blind(self) -> np.ndarray:
        """The same for the loss, where another prediction is best for that."""
        own = self.task.loss_blind
        return self._everywhere(self.task.blind if own is None else own)

    def _everywhere(self, prediction: np.ndarray) -> np.ndarray:
        shape = (*self.scored_used.shape, self.task.output_size)
        return np.broadcast_to(np.asarray(prediction), shape)

    def score(self, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of predictions `[examples, uses, output]`: loss, correct, and whether the loss and its
        gradient are finite, each `[examples, uses]`."""
        score = _compiled_score(self.task.loss, self.task.correct)
        return jax.tree.map(np.asarray, score(predictions, self.scored.targets))

    @functools.cached_property
    def blind_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """`[examples, uses]`, loss and correct of the blind predictions that are best for each."""
        return self.score(self.loss_blind)[0], self.score(self.blind)[1]

    def mean(self, scores: np.ndarray, chosen=slice(None), *, counted=False) -> tuple[float, float]:
        """Weighted mean over uses and its standard error, which allows for answers of one example
        that hang together. `chosen` is a slice of examples; `counted` leaves uses out that do not
        count in accuracy."""
        weights = self.scored.weights[chosen].astype(np.float64)
        if counted:
            weights = np.where(self.scored.lag[chosen] >= self.task.counted_from, weights, 0)
        scores = np.where(weights > 0, scores[chosen], 0).astype(np.float64)
        total = weights.sum()
        mean = (weights * scores).sum() / total
        deviations = (weights * (scores - mean)).sum(axis=1)
        return float(mean), float(np.sqrt(np.square(deviations).sum()) / total)

    def fitted_gains(self, groups: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
        """By how much the best prediction of each group beats the blind one.

        Fitted on the first half of the examples and compared on the second.

        Args:
          groups: `[examples, uses]`, a number; one prediction is fitted a number.

        Returns:
          gain in accuracy with its standard error, the same for the loss.
        """
        half = len(groups) // 2
        losses, corrects = self.blind_scores
        gains = np.zeros_like(losses), np.zeros_like(losses)
        fits = [self.score(candidate) for candidate in self._candidates(groups[:half], groups)]
        # All groups at once: there may be many, of very many uses.
        used = self.scored_used
        number = (groups - groups.min())[used]
        early = np.broadcast_to((np.arange(len(groups)) < half)[:, None], groups.shape)[used]
        size = np.bincount(number, early)
        large = (size >= _GROUP)[number]

        def best(scores, sign):
            """Of each use, by the fit that is best on the first half of its group."""
            scores = np.stack([score[used].astype(losses.dtype) for score in scores])
            means = [np.bincount(number, np.where(early, sign * own, 0)) for own in scores]
            return scores[np.argmax(means, axis=0)[number], np.arange(len(number))]

        correct, loss = best([fit[1] for fit in fits], 1), best([fit[0] for fit in fits], -1)
        gains[0][used] = np.where(large, correct - corrects[used], 0)
        gains[1][used] = np.where(large, losses[used] - loss, 0)
        second = slice(half, None)
        return self.mean(gains[0], second, counted=True), self.mean(gains[1], second)

    def _candidates(self, early_groups: np.ndarray, groups: np.ndarray):
        """Predictions `[examples, uses, output]`, constant in each group: log frequencies for
        classes; mean and quantiles for values."""
        half = len(early_groups)
        used, targets = self.scored_used[:half], self.scored.targets[:half]
        count = 1 if self.classes else 1 + len(_QUANTILES)
        candidates = [self.blind.copy() for _ in range(count)]
        if self.classes:
            size, number = self.task.output_size, groups - groups.min()
            places = size * number[:half][used] + targets[used]
            counts = np.bincount(places, minlength=size * (number.max() + 1)).reshape(-1, size)
            known = counts.any(axis=1)[number]
            fits = np.log((counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True))
            candidates[0][known] = fits[number[known]]
            return candidates
        for group in np.unique(early_groups[used]):
            early = targets[(early_groups == group) & used]
            fits = [early.mean(axis=0), *np.quantile(early, _QUANTILES, axis=0)]
            for candidate, fit in zip(candidates, fits, strict=True):
                candidate[groups == group] = fit
        return candidates

    # Oracle.

    @functools.cached_property
    def _compiled_oracle(self):
        return quick_jit(jax.vmap(self.task.oracle))

    def answers(self, inputs: np.ndarray) -> np.ndarray:
        """The oracle's answers to inputs `[examples, ...]`."""
        return np.asarray(self._compiled_oracle(jnp.asarray(inputs)))

    def agree(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """`[examples, uses]`, whether answers are equal."""
        if self.classes:
            return answers == targets
        return np.isclose(answers, targets, atol=1e-5).all(axis=-1)

    def info_mask(self, use: int) -> np.ndarray:
        """`[examples, time]`, True at the relevant inputs of a use."""
        return info_mask(self.examples, use, self.task.length)

    @functools.cached_property
    def all_infos(self) -> np.ndarray:
        """`[examples, time]`, True at the relevant inputs of any use."""
        return np.any([self.info_mask(use) for use in range(self.used.shape[1])], axis=0)

    @functools.cached_property
    def questions(self) -> np.ndarray:
        """`[examples, time]`, True where an answer is asked for."""
        mask = np.zeros((len(self.used), self.task.length + 1), bool)
        np.put_along_axis(mask, np.where(self.used, self.examples.use_times, -1), True, axis=1)
        return mask[:, :-1]

    def pairs(self, use: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Indices `[examples]` of two examples each, as many as the oracle was compiled for; None
        where no example has this use, or where it asks for nothing past."""
        present = np.flatnonzero(self.asked[:, use])
        if not len(present):
            return None
        return np.resize(present, DRAWN), np.resize(np.roll(present, 1), DRAWN)

    def moved(self, source: np.ndarray, rest: np.ndarray, use: int, slots: np.ndarray):
        """Inputs of `rest`, with other inputs at some of its relevant steps: in half of the pairs
        `source`'s relevant ones, in the others some that are not relevant.

        Args:
          source: indices of examples.
          rest: the same.
          use: the infos of which.
          slots: `[pairs, infos]`, which of them.
        """
        inputs = self.examples.inputs[rest].copy()
        info = self.examples.info_times[:, use]
        free = ~(self.all_infos | self.questions)[source]
        # A step of each source that is not relevant, where it has one.
        unrelated = np.where(free.any(axis=1), free.argmax(axis=1), -1)
        foreign = np.arange(len(source)) % 2 == 1
        for slot in range(info.shape[1]):
            given = np.where(foreign & (unrelated >= 0), unrelated, info[source, slot])
            taken = info[rest, slot]
            rows = np.flatnonzero(slots[:, slot] & (given >= 0) & (taken >= 0))
            inputs[rows, taken[rows]] = self.examples.inputs[source[rows], given[rows]]
        return inputs

    def spliced(self, source: np.ndarray, rest: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Inputs of `source` where `mask` `[examples, time]` is True, those of `rest` elsewhere."""
        inputs = self.examples.inputs
        mask = mask if inputs.ndim == 2 else mask[..., None]
        return np.where(mask, inputs[source], inputs[rest])

    def relevant_rows(self, examples: Example) -> set[bytes]:
        """The relevant inputs of each example, as bytes."""
        uses, length = range(examples.info_times.shape[1]), self.task.length
        relevant = np.any([info_mask(examples, use, length) for use in uses], axis=0)
        relevant |= ~relevant.any(axis=1, keepdims=True)  # all inputs where none is named
        return {
            inputs[own].tobytes() for inputs, own in zip(examples.inputs, relevant, strict=True)
        }


@functools.lru_cache(maxsize=32)  # many tasks share theirs
def _compiled_score(loss: Callable, correct: Callable) -> Callable:
    def score(prediction, target):
        value, slope = jax.value_and_grad(loss)(prediction, target)
        finite = jnp.isfinite(value) & jnp.isfinite(slope).all()
        return value, correct(prediction, target), finite

    return quick_jit(jax.vmap(jax.vmap(score)))


def info_mask(examples: Example, use: int, length: int) -> np.ndarray:
    """`[examples, time]`, True at the relevant inputs of a use of examples so many steps long."""
    info = examples.info_times[:, use]
    mask = np.zeros((len(info), length + 1), bool)  # the last column takes -1
    np.put_along_axis(mask, info, True, axis=1)
    return mask[:, :-1]
