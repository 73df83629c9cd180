"""Film: what kind of event is happening in every frame?"""

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.tasks.base import Example, Task, classification, longest_lead_in, require_whole, whole

_SCENES = (2, 3)  # frames that a scene has
_ACT = 2  # frames of the first act a person, and of the last
_GRAIN = 0.25  # the largest noise on a feature


def film(
    gap: int, *, events: int = 4, people: int = 2, lead_in: int = 8, length: int | None = None
) -> Task:
    """Every frame of a film is to be labelled with the event that is happening. At gap 5, with one
    person, 1, whose plan A is seen at step 1; no lead-in::

        step           0  1  2  3  4  5  6  7
        event seen     B  A  .  C  .  .  .  D
        person seen    .  1  .  .  .  .  1  .
        target         B  A  B  C  C  C  A  D
        lag                  2     1  2  5

    Olah's essay "Understanding LSTM Networks" begins with it: "imagine you want to classify what
    kind of event is happening at every point in a movie. It's unclear how a traditional neural
    network could use its reasoning about previous events in the film to inform later ones". What
    has to be remembered, and for how long, differs by frame:

    * A scene opens with a frame that shows its event, which is its label: nothing past is needed.
    * The other 1 or 2 frames of the scene show neither event nor person. Their label is the
      scene's: their lag, of at most 2 + `people` steps, is to its opening.
    * Each person is seen once in the first act together with an event, a plan, which is the label.
      In the last act the person is seen once more, alone, and the label is that plan. Both frames
      are cut into whatever scene is on. This is the long lag, from `gap` to gap + 4 people - 2
      steps: to know it takes what was planned, and by whom.

    An act has two frames a person; the first frame of the last one stands `gap` steps after the
    last frame of the first. A frame is a vector: 1 for the event that is seen, 1 for the person,
    else 0, each with noise from U[-0.25, 0.25], the film's grain.

    All labels are equally likely in each kind of frame, so a blind guess is right in 1/events of
    any. All frames are trained. What is counted are lags of `gap` or more, the last act's, of which
    there are `people` in a film however long it is; in the loss they weigh as much as all other
    frames together, so that a longer film does not make them matter less. `solved_at` is 0.9: who
    forgets one of two people, or remembers both plans but not whose they are, is right in
    (1 + 1/events) / 2, 0.625 by default.

    Args:
      gap: frames from a person's first to the second, at least; 3 more than `people` at least, so
        that the lags within scenes are shorter.
      events: kinds of event, K; chance is 1/K.
      people: how many have a plan.
      lead_in: longest lead-in, in frames: scenes before the first act; not read with `length`.
      length: frames of an example, the same at every gap: the lead-in may take what is left; as
        few as may be if None.

    Raises:
      InputError: a gap, events, people or length too small, or a negative lead-in.
    """
    require_whole("events", events, 2)
    require_whole("people", people, 1)
    require_whole("gap", gap, _SCENES[1] + people)
    act = _ACT * people
    last_act = act - 1 + gap  # from the first act's first frame to the last's
    lead_in = longest_lead_in(lead_in, length, last_act + act)
    length = lead_in + last_act + act
    in_scenes = length - 2 * people  # frames
    scenes = -(-in_scenes // _SCENES[0])  # at most
    steps, persons = np.arange(length, dtype=np.int32), np.arange(people, dtype=np.int32)
    # Half of the loss is about the last act.
    weight, long_weight = length / (2 * (length - people)), length / (2 * people)
    features = events + people
    parts = np.cumsum([1, act, act, people, scenes, scenes])

    def sample(data, key):
        del data
        # One draw for everything: each call of the generator adds to compilation.
        uniform = jax.random.uniform(key, (parts[-1] + length * features,), jnp.float32)
        lead, first, last, planned, happening, lengths, grain = jnp.split(uniform, parts)
        lead = whole(lead, lead_in + 1)
        # The steps of the largest draws, in random order: different from each other.
        plans = lead + jax.lax.top_k(first, people)[1]
        alone = lead + last_act + jax.lax.top_k(last, people)[1]
        planned, happening = whole(planned, events), whole(happening, events)
        ends = jnp.cumsum(_SCENES[0] + whole(lengths, _SCENES[1] - _SCENES[0] + 1))
        # The film without the frames that are cut in is one scene after another.
        person = jnp.full(length, -1, jnp.int32).at[plans].set(persons).at[alone].set(persons)
        cut_in = person >= 0
        place = jnp.maximum(jnp.cumsum(~cut_in) - 1, 0)
        scene = jnp.searchsorted(ends, place, side="right")
        opens = ~cut_in & ((place == 0) | (ends[scene - 1] == place))
        targets = jnp.where(cut_in, planned[person], happening[scene])
        is_alone = jnp.zeros(length, bool).at[alone].set(True)
        opening = jax.lax.cummax(jnp.where(opens, steps, -1))
        info = jnp.where(cut_in, -1, opening)
        info = jnp.where(opens, -1, info).at[alone].set(plans)
        event = jnp.where(opens | (cut_in & ~is_alone), targets, -1)
        seen = [jax.nn.one_hot(event, events), jax.nn.one_hot(person, people)]
        noise = _GRAIN * (2 * grain.reshape(length, features) - 1)
        return Example(
            inputs=jnp.concatenate(seen, axis=1) + noise,
            targets=targets,
            weights=jnp.where(is_alone, jnp.float32(long_weight), jnp.float32(weight)),
            info_times=info[:, None],
            use_times=jnp.asarray(steps),
            lag=jnp.where(info >= 0, steps - info, -1),
        )

    def oracle(inputs):
        seen = inputs > 0.5
        event, person = jnp.argmax(seen[:, :events], axis=1), jnp.argmax(seen[:, events:], axis=1)
        shows, peopled = seen[:, :events].any(axis=1), seen[:, events:].any(axis=1)
        plan = seen[:, events:] & shows[:, None]
        planned = event[jnp.argmax(plan, axis=0)]
        opening = jax.lax.cummax(jnp.where(shows & ~peopled, steps, -1))
        told = jnp.where(peopled, planned[person], event[opening])
        return jnp.where(shows, event, told).astype(jnp.int32)

    return classification(
        classes=events,
        name="film",
        gap=gap,
        kind="dense",
        input_size=features,
        length=length,
        sample=sample,
        oracle=oracle,
        # Of two frames with a person and an event only one can be that person's.
        joint=True,
        counted_from=gap,
    )
