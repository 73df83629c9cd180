"""The task author's kit: `tasks.new` writes what `tasks.check` passes, and check names faults."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.errors import BrokenClauseError, InputError
from lstm_jax.tasks import Example, Task, adding, check, new, recall, two_sequence
from lstm_jax.tasks.base import classified, cross_entropy, require_whole
from lstm_jax.tasks.contract import CLAUSES, Case

SYMBOLS = 4


def cue(
    gap,
    *,
    place=lambda gap, cue_time: cue_time + gap,
    draw_cue=lambda key, cue_time: jax.random.randint(key, (), 0, SYMBOLS),
    lead_in=8,
    late=0,
    **fields,
):
    """A small correct task (a cue among noise symbols), with parts that tests break."""
    require_whole("gap", gap, 1)
    length = lead_in + gap + 2

    def sample(data, key):
        cue_key, lead_key, noise_key = jax.random.split(key, 3)
        cue_time = jax.random.randint(lead_key, (), 0, lead_in + 1)
        symbol = draw_cue(cue_key, cue_time)
        use_time = place(gap, cue_time)
        noise = jax.random.randint(noise_key, (length,), SYMBOLS, SYMBOLS + 3)
        return Example(
            inputs=noise.at[cue_time].set(symbol),
            targets=symbol[None],
            weights=jnp.ones(1),
            info_times=cue_time[None, None] + late,
            use_times=use_time[None],
            lag=(use_time - cue_time - late)[None],
        )

    task = Task(
        name="cue",
        gap=gap,
        kind="tokens",
        input_size=SYMBOLS + 3,
        output_size=SYMBOLS,
        length=length,
        sample=sample,
        loss=cross_entropy,
        correct=classified,
        blind=np.zeros(SYMBOLS, np.float32),
        chance=1 / SYMBOLS,
        blind_loss=float(np.log(SYMBOLS)),
        solved_at=0.9,
        oracle=lambda inputs: jnp.min(inputs)[None],
    )
    return task._replace(**fields)


def changed_sample(change, gap=10):
    """The task with an example changed by `change(key, example)`."""
    task = cue(gap)
    return task._replace(sample=lambda data, key: change(key, task.sample(data, key)))


def extra_info(key, example):
    """Declares one more relevant input than there is, at the same distance in every example."""
    both = jnp.concatenate([example.info_times, example.info_times + 1], axis=1)
    return example._replace(info_times=both, lag=example.lag - 1)


def leaked(distance):
    """The answer stands in the noise at a distance from the use."""

    def change(key, example):
        told = SYMBOLS + example.targets[0] % 3
        return example._replace(inputs=example.inputs.at[example.use_times[0] + distance].set(told))

    return changed_sample(change)


def not_from_the_key(example):
    noise = np.random.default_rng().integers(SYMBOLS, SYMBOLS + 3, 11, dtype=np.int32)
    return example.inputs.at[9:].set(noise)


def own_evaluation_set(data, split):
    """The same for both splits."""
    sample = jax.vmap(cue(10).sample, in_axes=(None, 0))
    return jax.jit(sample)((), jax.random.split(jax.random.key(1), 200))


def most_are_zero(key, cue_time):
    return jnp.min(jax.random.randint(key, (2,), 0, SYMBOLS))


BROKEN = {
    "fields": [
        cue(10)._replace(gap=11),
        cue(10, solved_at=0.2),
        cue(10, blind=np.zeros(3, np.float32)),
        cue(10, load=lambda: ()),
        cue(10, licence=""),
        cue(10, floors=lambda data: None),
        cue(10, counted_from=11),
        cue(10, noisy_targets=True, oracle=None),
    ],
    "shapes": [
        changed_sample(lambda key, example: example._replace(targets=example.targets[0])),
        changed_sample(lambda key, example: example._replace(weights=jnp.ones(1, jnp.int32))),
        changed_sample(lambda key, example: example._replace(lag=example.lag * 1.5)),
        cue(10, loss=lambda prediction, target: prediction),
        cue(10, correct=lambda prediction, target: cross_entropy(prediction, target)),
    ],
    "values": [
        cue(10, input_size=SYMBOLS),
        changed_sample(lambda key, example: example._replace(weights=-example.weights)),
    ],
    "times": [
        cue(10, place=lambda gap, cue_time: cue_time + 3 * gap),
        cue(10, place=lambda gap, cue_time: cue_time + 8, counted_from=10),
        changed_sample(lambda key, example: example._replace(info_times=example.info_times + 20)),
    ],
    "lag": [changed_sample(lambda key, example: example._replace(lag=example.lag + 1))],
    "gap": [cue(10, place=lambda gap, cue_time: cue_time + gap + 1)],
    "same_key": [
        changed_sample(lambda key, example: example._replace(inputs=not_from_the_key(example)))
    ],
    "position": [cue(10, lead_in=0), cue(10, fixed_position=True)],
    "loss": [
        cue(10, correct=lambda prediction, target: ~classified(prediction, target)),
        cue(10, loss=lambda prediction, target: jnp.log(prediction[target])),
    ],
    "blind": [cue(10, chance=0.3), cue(10, blind_loss=1.0)],
    "constant": [cue(10, draw_cue=most_are_zero, chance=7 / 16)],
    "clock": [cue(10, draw_cue=lambda key, cue_time: cue_time % SYMBOLS, lead_in=7)],
    "leak": [leaked(0), leaked(-1), leaked(-3), leaked(1)],
    "oracle": [
        cue(10, oracle=lambda inputs: jnp.max(inputs)[None] % SYMBOLS),
        cue(10, oracle=None),
    ],
    "splice": [cue(10, late=1, place=lambda gap, cue_time: cue_time + gap + 1)],
    "evaluation": [cue(10, evaluation_set=own_evaluation_set)],
}


def test_a_fault_of_each_clause():
    assert set(BROKEN) == set(CLAUSES)


@pytest.mark.parametrize(
    ("expected", "task"),
    [
        pytest.param(clause, task, id=f"{clause}-{index}")
        for clause, tasks in BROKEN.items()
        for index, task in enumerate(tasks)
    ],
)
def test_first_broken_clause_is_the_right_one(expected, task):
    case = Case(10, task, ())
    for name, clause in CLAUSES.items():
        if name == expected:
            with pytest.raises(BrokenClauseError) as caught:
                clause(case)
            assert "\n" not in str(caught.value)
            return
        clause(case)


def test_an_input_that_does_not_matter_is_named():
    task = changed_sample(extra_info)._replace(gap=9)
    with pytest.raises(BrokenClauseError, match=r"info_times\[0, 1\] never changes the answer"):
        CLAUSES["splice"](Case(10, task, ()))


def scattered_info(key, example):
    """Declares relevant inputs at steps that hardly two examples share."""
    others = example.info_times + 1 + jax.random.randint(key, (1, 8), 0, 38)
    info_times = jnp.concatenate([example.info_times, others], axis=1)
    return example._replace(info_times=info_times)


def test_scattered_inputs_that_do_not_matter_are_named():
    with pytest.raises(BrokenClauseError, match=r"info_times\[0, \d\] never changes the answer"):
        CLAUSES["splice"](Case(40, changed_sample(scattered_info, gap=40), ()))


def test_too_few_pairs_is_a_fault():
    task = cue(10, draw_cue=lambda key, cue_time: jnp.zeros((), jnp.int32))
    with pytest.raises(BrokenClauseError, match=r"only 0 pairs .* 50 are needed"):
        CLAUSES["splice"](Case(10, task, ()))


def voted(key, example):
    """Three cues that say the same: none alone changes the majority."""
    cue_time = example.info_times[0, 0]
    times = cue_time - jnp.arange(3)
    inputs = jnp.concatenate([jnp.full(3, SYMBOLS + 1, example.inputs.dtype), example.inputs])
    times = times + 3
    inputs = inputs.at[times].set(example.targets[0])
    return example._replace(inputs=inputs, info_times=times[None], use_times=example.use_times + 3)


def most_common(inputs):
    return jnp.argmax((inputs[:, None] == jnp.arange(SYMBOLS)[None]).sum(0))[None]


def test_inputs_that_tell_the_same_all_matter():
    task = changed_sample(voted)
    task = task._replace(length=task.length + 3, oracle=most_common)
    CLAUSES["splice"](Case(10, task, ()))


@pytest.mark.parametrize(("ceiling", "holds"), [(0.925, True), (0.95, False), (1.0, False)])
def test_an_oracle_that_may_be_wrong_is_as_good_as_the_ceiling_says(ceiling, holds):
    def mistaken(key, example):
        wrong = jax.random.bernoulli(key, 0.1)
        drawn = jax.random.randint(key, (1,), 0, SYMBOLS)
        return example._replace(targets=jnp.where(wrong, drawn, example.targets))

    task = changed_sample(mistaken)._replace(ceiling=ceiling)
    if holds:
        CLAUSES["oracle"](Case(10, task, ()))
    else:
        with pytest.raises(BrokenClauseError, match="oracle"):
            CLAUSES["oracle"](Case(10, task, ()))


def biased(inputs):
    """The expectation of `two_sequence:noise=targets`, and somewhat more in one class."""
    expected = two_sequence(10, noise="targets").oracle(inputs)
    return jnp.where(expected > 0.5, expected + 0.05, expected)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (two_sequence(10, noise="targets")._replace(oracle=biased), "must give their expectations"),
        (adding(10)._replace(noisy_targets=True), "finds every target exactly"),
    ],
)
def test_noisy_targets_have_their_expectations_for_an_oracle(task, message):
    with pytest.raises(BrokenClauseError, match=message):
        CLAUSES["oracle"](Case(10, task, ()))


def test_the_best_constant_for_the_loss_may_be_another_one():
    def rare(key, example):  # many zeros, and a one now and then
        target = (jax.random.uniform(key) ** 4)[None, None]
        return example._replace(targets=target)

    def close(prediction, target):
        return jnp.max(jnp.abs(prediction - target)) < 0.04

    def squared(prediction, target):
        return jnp.mean((prediction - target) ** 2)

    chance = 0.08**0.25
    task = changed_sample(rare)._replace(
        output_size=1, loss=squared, correct=close, chance=chance, blind_loss=1 / 9 - 1 / 25,
        blind=np.full(1, 0.04, np.float32), loss_blind=np.full(1, 0.2, np.float32),
    )  # fmt: skip
    for clause in ("fields", "loss", "blind", "constant"):
        CLAUSES[clause](Case(10, task, ()))
    alone = task._replace(loss_blind=None, blind_loss=1 / 9 - 2 * 0.04 / 5 + 0.04**2)
    CLAUSES["blind"](Case(10, alone, ()))
    with pytest.raises(BrokenClauseError, match="at a lower loss than blind"):
        CLAUSES["constant"](Case(10, alone, ()))


def test_the_small_task_is_sound():
    for clause in CLAUSES.values():
        clause(Case(10, cue(10), ()))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"place": lambda gap, cue_time: cue_time + gap - 1}, "gap: at 10: a lag of 9 is below 10"),
        ({"oracle": None, "input_size": 2}, "values: at 10: inputs run from 0 to 6"),
        ({"sample": lambda data, key: 1 / 0}, "shapes: .* ZeroDivisionError: division by zero"),
        ({"load": lambda: {}["images"]}, "construction: load fails: KeyError"),
    ],
)
def test_structure_names_the_clause(fault, message):
    with pytest.raises(InputError, match=message) as caught:
        check.check_structure(lambda gap: cue(gap, **fault))
    assert "\n" not in str(caught.value)


def test_structure_of_what_is_no_task():
    with pytest.raises(InputError, match="the constructor returned a dict, no Task"):
        check.check_structure(lambda gap: {})
    with pytest.raises(InputError, match="gap=10: AttributeError"):
        check.check_structure(lambda gap: gap.missing)


def unnamed(length):
    return recall(length)


def positional(gap, symbols=8):
    return recall(gap, symbols=symbols)


def no_default(gap, *, symbols):
    return recall(gap, symbols=symbols)


def any_gap(gap):
    return recall(max(1, int(gap)))


def careless(gap):
    return recall(int(10 / gap))


@pytest.mark.parametrize(
    ("constructor", "message"),
    [
        (unnamed, "signature: the first parameter must be `gap`"),
        (positional, "signature: symbols must stand after `*`"),
        (no_default, "signature: no_default: option symbols needs a default"),
        (any_gap, "signature: gap=0 must raise InputError"),
        (careless, "signature: gap=0 must raise InputError, not ZeroDivisionError"),
    ],
)
def test_signature(constructor, message):
    (line,) = check.broken(constructor)
    assert line.startswith(message)


def test_new_passes_check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert new.STARTER.main(["my_task.py"]) == 0
    assert check.main(["my_task.py"]) == 0
    output = capsys.readouterr().out
    assert "python -m lstm_jax.tasks.check my_task.py" in output
    assert f"my_task: all {len(CLAUSES) + 1} clauses hold" in output


def test_new_file_is_formatted_and_small(tmp_path):
    path = tmp_path / "some_task.py"
    new.STARTER.write(str(path))
    for command in (["check"], ["format", "--check", "--line-length=100"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, str(path)], check=True)
    assert len(path.read_text().splitlines()) <= 65


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.py", "exists already"),
        ("my-task.py", "is named <function>.py"),
        ("class.py", "is named <function>.py"),
        ("my_task", "is named <function>.py"),
        ("recall.py", "there is a task recall already"),
        ("none/my_task.py", "cannot be written"),
    ],
)
def test_new_refuses_in_one_line(name, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.py").write_text("mine")
    assert new.STARTER.main([name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert (tmp_path / "there.py").read_text() == "mine"


def test_check_prints_a_line_a_broken_clause(tmp_path, capsys):
    path = tmp_path / "my_task.py"
    new.STARTER.write(str(path))
    text = path.read_text()
    path.write_text(text.replace("chance=1 / 2", "chance=0.6").replace(", lead_in + 1)", ", 1)"))
    assert check.main([str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(":")[0] for line in lines} == {"position", "blind"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "cannot be read"),
        ("def other(gap): ...", "defines no function"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
    ],
)
def test_check_of_an_unusable_file_is_one_line(source, message, tmp_path, capsys):
    path = tmp_path / "my_task.py"
    if source is not None:
        path.write_text(source)
    assert check.main([str(path)]) == 2
    output, errors = capsys.readouterr()
    (line,) = errors.splitlines()
    assert message in line
    assert not output


def test_check_as_a_command(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "lstm_jax.tasks.check", "none.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: 'none.py': cannot be read (No such file or directory)\n"


def test_usage(capsys):
    assert check.main([]) == 2
    assert new.STARTER.main(["--help"]) == 0
    assert capsys.readouterr().err.count("usage:") == 2
