"""Optimizers and clipping by spec, as Optax transformations; the learning rate stays an array.

A trial's update is `params - learning_rate * direction`, with the direction from here, so that
trials of one compiled program may differ in their rates.
"""

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


def _require_decays(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise InputError(f"{name}={value}: must be at least 0 and below 1")


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{name}={value}: must be above 0")


OPTIMIZERS = {"adam": adam, "rmsprop": rmsprop, "sgd": sgd}


def norm(threshold: float) -> optax.GradientTransformation:
    """Clips the global norm of the gradient (Pascanu et al. 2013)."""
    return optax.clip_by_global_norm(threshold)


def value(threshold: float) -> optax.GradientTransformation:
    """Clips every element of the gradient."""
    return optax.clip(threshold)


_CLIPS = {"norm": norm, "value": value}


def direction(optimizer: str, clip: str) -> optax.GradientTransformation:
    """Clipping, then the optimizer's direction.

    Args:
      optimizer: spec such as `adam` or `sgd:momentum=0.9`.
      clip: `norm:1`, `value:1` or `none`.

    Raises:
      InputError: an unknown optimizer or option, or a clip of another form.
    """
    spec = parse(optimizer, OPTIMIZERS, "optimizer", knows_gap=False)
    transformation = OPTIMIZERS[spec.name](**spec.resolved)
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
