"""Optimizers and clipping by spec, as Optax transformations; the learning rate stays an array.

A trial's update is `params - learning_rate * direction`, with the direction from here, so that
trials of one compiled program may differ in their rates.
"""

import jax
import jax.numpy as jnp
import optax

from lstm_jax.errors import InputError
from lstm_jax.spec import parse


def adam(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015)."""
    _require_decays(b1=b1, b2=b2)
    _require_positive(eps=eps)
    return optax.scale_by_adam(b1=b1, b2=b2, eps=eps)


def rmsprop(*, decay: float = 0.9, eps: float = 1e-8) -> optax.GradientTransformation:
    """RMSprop (Tieleman & Hinton 2012), the usual choice of the copy and adding literature."""
    _require_decays(decay=decay)
    _require_positive(eps=eps)
    return optax.scale_by_rms(decay=decay, eps=eps)


def sgd(*, momentum: float = 0.0) -> optax.GradientTransformation:
    """Gradient descent, with heavy-ball momentum if it is not 0."""
    _require_decays(momentum=momentum)
    return optax.trace(decay=momentum) if momentum else optax.identity()


def guess(*, scale: float = 1.0) -> optax.GradientTransformationExtraArgs:
    """No learning at all: at each update all parameters are drawn anew, U(±scale), and kept where
    their loss on the batch is below that of those held so far (random weight guessing: Hochreiter &
    Schmidhuber 1996, "Bridging long time lags by weight guessing and LSTM").

    What it solves says more of the task than of a cell. Its step leads to the guess itself, so it
    wants a learning rate of 1. The budget counts guesses.
    """
    _require_positive(scale=scale)

    def update(gradient, state, params, *, value, value_fn, key, **others):
        del gradient, others
        leaves, structure = jax.tree.flatten(params)
        draws = [
            jax.random.uniform(k, leaf.shape, leaf.dtype, -scale, scale)
            for k, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
        ]
        better = value_fn(structure.unflatten(draws)) < value
        steps = [
            jnp.where(better, leaf - draw, jnp.zeros_like(leaf))
            for leaf, draw in zip(leaves, draws, strict=True)
        ]
        return structure.unflatten(steps), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _require_decays(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise InputError(f"{name}={value}: must be at least 0 and below 1")


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{name}={value}: must be above 0")


OPTIMIZERS = {"adam": adam, "rmsprop": rmsprop, "sgd": sgd, "guess": guess}
# Those that lead to their next parameters by themselves.
UNIT_RATE = ("guess",)


def norm(threshold: float) -> optax.GradientTransformation:
    """Clips the global norm of the gradient (Pascanu et al. 2013)."""
    return optax.clip_by_global_norm(threshold)


def value(threshold: float) -> optax.GradientTransformation:
    """Clips every element of the gradient."""
    return optax.clip(threshold)


_CLIPS = {"norm": norm, "value": value}


def direction(optimizer: str, clip: str) -> optax.GradientTransformationExtraArgs:
    """Clipping, then the optimizer's direction. Its `update` takes, beside Optax's arguments, the
    loss `value`, the loss as a function `value_fn` of parameters, and a `key`.

    Args:
      optimizer: spec such as `adam` or `sgd:momentum=0.9`.
      clip: `norm:1`, `value:1` or `none`.

    Raises:
      InputError: an unknown optimizer or option, or a clip of another form.
    """
    spec = parse(optimizer, OPTIMIZERS, "optimizer", knows_gap=False)
    transformation = OPTIMIZERS[spec.name](**spec.resolved)
    transformation = optax.with_extra_args_support(transformation)
    if spec.name in UNIT_RATE:  # it reads no gradient
        return transformation
    if clip == "none":
        return transformation
    name, _, threshold = clip.partition(":")
    try:
        clipping = _CLIPS[name](positive(threshold))
    except (KeyError, ValueError):
        raise InputError(
            f"clip {clip!r}: allowed are norm:<above 0>, value:<above 0>, none"
        ) from None
    return optax.chain(clipping, transformation)


def positive(text: str) -> float:
    """`text` as a finite number above 0, or ValueError."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(f"{text}: must be a finite number above 0")
    return number
