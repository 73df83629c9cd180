"""The cell author's kit: a new cell passes; each way to break the contract is named."""

import subprocess
import sys
from functools import cache, partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.cells import CELLS, Cell, check, fading, new, rnn
from lstm_jax.cells.case import Case
from lstm_jax.cells.clauses import CLAUSES
from lstm_jax.cells.structure import STRUCTURE
from lstm_jax.errors import InputError


class Carry(NamedTuple):
    hidden: jax.Array
    clock: jax.Array


def broken_cell(**changes):
    """A constructor of a sound tanh cell with some of its functions replaced by what
    `changes[name](input_size, hidden_size)` returns."""

    def cell(input_size, hidden_size, *, scale: float = 1.0):
        def init(key):
            input_key, recurrent_key = jax.random.split(key)
            return {
                "input_kernel": jax.random.normal(input_key, (input_size, hidden_size)),
                "recurrent_kernel": jax.random.normal(recurrent_key, (hidden_size, hidden_size)),
            }

        def initial_carry(weights):
            return Carry(jnp.zeros_like(weights["recurrent_kernel"][0]), jnp.int32(0))

        def project(weights, inputs, key):
            return scale * inputs @ weights["input_kernel"]

        def step(weights, carry, projected, dot=jnp.matmul):
            hidden = jnp.tanh(projected + dot(carry.hidden, weights["recurrent_kernel"]))
            return Carry(hidden, carry.clock + 1), hidden

        sound = Cell(init, initial_carry, project, step, hidden_size)
        return sound._replace(
            **{name: change(input_size, hidden_size) for name, change in changes.items()}
        )

    return cell


def with_step(step):
    return broken_cell(step=lambda input_size, hidden_size: step)


def next_carry(weights, carry, projected, dot):
    hidden = jnp.tanh(projected + dot(carry.hidden, weights["recurrent_kernel"]))
    return Carry(hidden, carry.clock + 1)


def test_the_sound_cell_is_sound():
    assert check.broken(broken_cell()) == []


# Signatures.


def option_without_default(input_size, hidden_size, *, gain):
    return rnn(input_size, hidden_size)


def option_by_position(input_size, hidden_size, gain=1.0):
    return rnn(input_size, hidden_size)


def other_names(features, units):
    return rnn(features, units)


def default_none(input_size, hidden_size, *, gain=None):
    return rnn(input_size, hidden_size)


def list_option(input_size, hidden_size, *, gains: list[float] | None = None):
    return rnn(input_size, hidden_size)


def no_cell(input_size, hidden_size):
    return tuple(rnn(input_size, hidden_size))


def refuses(input_size, hidden_size):
    raise InputError(f"hidden_size={hidden_size}: never")


def fails(input_size, hidden_size):
    raise KeyError("missing")


# Steps.


def narrow_carry(weights, carry, projected, dot=jnp.matmul):
    after = next_carry(weights, carry, projected, dot)
    return after._replace(hidden=after.hidden.astype(jnp.bfloat16)), after.hidden


def clock_to_float(weights, carry, projected, dot=jnp.matmul):
    after = next_carry(weights, carry, projected, dot)
    return after._replace(clock=carry.clock + 0.5), after.hidden


def grown_carry(weights, carry, projected, dot=jnp.matmul):
    after = next_carry(weights, carry, projected, dot)
    return (*after, after.hidden), after.hidden


def wide_carry(weights, carry, projected, dot=jnp.matmul):
    after = next_carry(weights, carry, projected, dot)
    return after._replace(clock=after.clock[None]), after.hidden


def batch_assumed(weights, carry, projected, dot=jnp.matmul):
    after = next_carry(weights, carry, projected, dot)
    return after, after.hidden[None, :]


def output_alone(weights, carry, projected, dot=jnp.matmul):
    return next_carry(weights, carry, projected, dot)


def step_without_dot(weights, carry, projected):
    after = next_carry(weights, carry, projected, jnp.matmul)
    return after, after.hidden


def product_outside_dot(weights, carry, projected, dot=jnp.matmul):
    after = next_carry(weights, carry, projected, jnp.matmul)
    return after, after.hidden


@jax.jit
def hidden_product(operand, kernel):
    return jax.lax.cond(True, lambda: operand @ kernel.T, lambda: operand)


def product_inside_control_flow(weights, carry, projected, dot=jnp.matmul):
    hidden = jnp.tanh(projected + hidden_product(carry.hidden, weights["recurrent_kernel"]))
    return Carry(hidden, carry.clock + 1), hidden


def matrix_through_dot(weights, carry, projected, dot=jnp.matmul):
    hidden = jnp.tanh(projected + dot(carry.hidden[None], weights["recurrent_kernel"])[0])
    return Carry(hidden, carry.clock + 1), hidden


def numpy_noise(weights, carry, projected, dot=jnp.matmul):
    noise = np.random.normal(size=carry.hidden.shape).astype(np.float32)  # noqa: NPY002
    after = next_carry(weights, carry, projected + noise, dot)
    return after, after.hidden


CALLS = []


def counting(weights, carry, projected, dot=jnp.matmul):
    CALLS.append(None)
    after = next_carry(weights, carry, projected + float(len(CALLS)), dot)
    return after, after.hidden


def mixed_dtypes(weights, carry, projected, dot=jnp.matmul):
    after = next_carry(weights, carry, projected + carry.clock, dot)
    return after, after.hidden


def fixed_width(input_size, hidden_size):
    def initial_carry(weights):
        return Carry(jnp.zeros(5), jnp.int32(0))

    return initial_carry


def nested_params(input_size, hidden_size):
    return lambda key: {"input": {"kernel": jnp.zeros((input_size, hidden_size))}}


def integer_params(input_size, hidden_size):
    return lambda key: {"steps": jnp.zeros(hidden_size, jnp.int32)}


def listed_params(input_size, hidden_size):
    return lambda key: [jnp.zeros((input_size, hidden_size))]


def bare_carry(input_size, hidden_size):
    return lambda weights: jnp.zeros(hidden_size)


def other_shape_with_key(input_size, hidden_size):
    def project(weights, inputs, key):
        projected = inputs @ weights["input_kernel"]
        return projected if key is None else (projected, jax.random.bernoulli(key, 0.5, (5,)))

    return project


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (option_without_default, "signature: .*option gain needs a default"),
        (option_by_position, "signature: `gain` must stand after `\\*`"),
        (other_names, "signature: .* must be `input_size, hidden_size`"),
        (default_none, "signature: option gain has the default None: say what else"),
        (list_option, "signature: option gains is annotated list.*numbers, words"),
        (no_cell, "fields: the constructor returned a tuple, not a Cell"),
        (refuses, "construction: every size is refused.*hidden_size=16: never"),
        (fails, "construction: .*KeyError: 'missing'"),
        (broken_cell(output_size=lambda i, h: 0), "fields: output_size is 0"),
        (broken_cell(step=lambda i, h: None), "fields: `step` is a NoneType"),
        (broken_cell(init=nested_params), "params: parameter `input` is a dict"),
        (broken_cell(init=integer_params), r"params: parameter `steps` is int32\[5\]"),
        (broken_cell(init=listed_params), "params: `init` gives a list"),
        (broken_cell(initial_carry=bare_carry), "carry: `initial_carry` gives an array"),
        (broken_cell(initial_carry=fixed_width), r"step: at .* = \(2, 32\): "),
        (broken_cell(output_size=lambda i, h: h + 1), r"step: the output is float32\[5\].*\[6\]"),
        (with_step(narrow_carry), "step: carry leaf `hidden` drifts from float32 to bfloat16"),
        (with_step(clock_to_float), "step: carry leaf `clock` drifts from int32 to float32"),
        (with_step(wide_carry), r"step: carry leaf `clock` changes shape from \[\] to \[1\]"),
        (with_step(grown_carry), r"step: the carry changes from Carry\(hidden: float32\[5\]"),
        (with_step(batch_assumed), r"step: the output is float32\[1, 5\].*one example"),
        (with_step(output_alone), r"step: the output is an? \w+|step: the carry changes"),
        (with_step(step_without_dot), "dot: `step` fails: TypeError"),
        (broken_cell(project=other_shape_with_key), "noise: `project` gives tuple"),
        (with_step(product_outside_dot), r"dot: `step` multiplies \[5\] by \[5, 5\] outside"),
        (with_step(product_inside_control_flow), "dot: `step` multiplies .* outside `dot`"),
        (with_step(matrix_through_dot), r"dot: `dot` is given shapes \[1, 5\] and \[5, 5\]"),
        (with_step(numpy_noise), "purity: `step` is another function each time"),
        (with_step(counting), "purity: `step` is another function each time"),
        (with_step(mixed_dtypes), "promotion: `step under strict promotion` fails"),
    ],
)
def test_structure_names_the_clause(build, words):
    with pytest.raises(InputError, match=f"^cell breaks the contract: {words}") as raised:
        check.check_structure(build)
    assert "\n" not in str(raised.value)


# What only running tells.


def ignored_parameter(input_size, hidden_size):
    def init(key):
        return {**broken_cell()(input_size, hidden_size).init(key), "gate": jnp.zeros(hidden_size)}

    return init


def same_for_every_key(input_size, hidden_size):
    return lambda key: broken_cell()(input_size, hidden_size).init(jax.random.key(0))


def norm_of_zero(input_size, hidden_size):
    # A norm has no derivative at zero, where this bias starts.
    def project(weights, inputs, key):
        return inputs @ weights["input_kernel"] + jnp.linalg.norm(weights["gate"])

    return project


def doubling(weights, carry, projected, dot=jnp.matmul):
    hidden = 2 * carry.hidden + projected + dot(carry.hidden, weights["recurrent_kernel"])
    return Carry(hidden, carry.clock + 1), hidden


def input_product_in_step(input_size, hidden_size):
    def step(weights, carry, projected, dot=jnp.matmul):
        after = next_carry(weights, carry, projected["inputs"] @ weights["input_kernel"], dot)
        return after, after.hidden

    return step


@jax.custom_jvp
def wrongly_differentiated(x):
    return jnp.tanh(x)


wrongly_differentiated.defjvp(lambda primals, tangents: (jnp.tanh(primals[0]), tangents[0]))


def wrong_gradient(weights, carry, projected, dot=jnp.matmul):
    recurrent = dot(carry.hidden, weights["recurrent_kernel"])
    hidden = wrongly_differentiated(projected + recurrent)
    return Carry(hidden, carry.clock + 1), hidden


def forced_single_precision(weights, carry, projected, dot=jnp.matmul):
    after = next_carry(weights, carry, projected, dot)
    return after._replace(hidden=after.hidden.astype(jnp.float32)), after.hidden


def carry_of_python_numbers(input_size, hidden_size):
    return lambda weights: Carry(jnp.full(hidden_size, 0.0), jnp.int32(0))


@pytest.mark.parametrize(
    ("clause", "build", "words"),
    [
        ("gradient", broken_cell(init=ignored_parameter), "`gate` gets no gradient"),
        (
            "gradient",
            broken_cell(init=ignored_parameter, project=norm_of_zero),
            "has no finite gradient at the start",
        ),
        ("init", broken_cell(init=same_for_every_key), "two keys give the same parameters"),
        ("long", with_step(doubling), "outputs are not finite after"),
        (
            "hoisted",
            broken_cell(
                project=lambda i, h: lambda weights, inputs, key: {"inputs": inputs},
                step=input_product_in_step,
            ),
            r"multiplies \[3\] by \[3, 5\], and neither needs the carry: do it in `project`",
        ),
        ("differences", with_step(wrong_gradient), "finite differences give"),
        ("loop", with_step(forced_single_precision), "in float64"),
        ("compiled", broken_cell(initial_carry=carry_of_python_numbers), "give it a dtype"),
    ],
)
def test_running_names_the_clause(clause, build, words):
    assert check.broken_structure(build) == []
    line = check.message(clause, CLAUSES[clause], Case(build))
    assert line.startswith(f"{clause}: ")
    assert words.replace("\\", "") in line
    assert "\n" not in line


# No cell can break these by itself, for `unroll` holds them; so a broken unroll must be caught.


@cache
def sound_case():
    return Case(broken_cell())


def drop(name):
    """Makes `run` ignore an argument."""

    def change(run):
        return lambda *given, **options: run(*given, **{**options, name: None})

    return change


def leaking(run):
    """Outputs that see the whole sequence, as of a cell that reads its inputs from elsewhere."""

    def leaky(inputs=None, **options):
        unrolled = run(inputs, **options)
        seen = sound_case().inputs if inputs is None else inputs
        return unrolled._replace(outputs=unrolled.outputs + seen.mean())

    return leaky


@pytest.mark.parametrize(
    ("clause", "change", "words"),
    [
        ("reset", drop("reset"), "a reset is not a fresh start"),
        ("mask", drop("mask"), "the masked outputs are not zero"),
        ("chunked", drop("carries"), "a sequence in two pieces gives other outputs"),
        ("causal", leaking, "changing a later input changes an earlier output"),
        ("chunked", leaking, "a sequence in two pieces"),
    ],
)
def test_a_broken_unroll_is_caught(monkeypatch, clause, change, words):
    case = sound_case()
    assert check.message(clause, CLAUSES[clause], case) == ""
    monkeypatch.setattr(case, "run", change(case.run))
    line = check.message(clause, CLAUSES[clause], case)
    assert line.startswith(f"{clause}: ")
    assert words in line


def test_other_examples_in_a_batch_and_other_loops_are_caught(monkeypatch):
    case = sound_case()
    mixed = jax.tree.map(lambda leaf: leaf + leaf.mean().astype(leaf.dtype), case.plain)
    monkeypatch.setattr(case, "plain", mixed)
    assert check.message("batched", CLAUSES["batched"], case).startswith("batched: an example")
    assert check.message("evaluation", CLAUSES["evaluation"], case).startswith("evaluation: a sec")

    class OtherLoop:
        point, double = case.double.point, staticmethod(case.double)

        def __call__(self, method, point):
            value, gradients = self.double(method, point)
            return value + (method == "loop"), gradients

    monkeypatch.setattr(case, "double", OtherLoop())
    assert check.message("loop", CLAUSES["loop"], case).startswith("loop: method=scan and a plain")


def test_noise_is_checked():
    def noisy(draw):
        def project(weights, inputs, key):
            projected = inputs @ weights["input_kernel"]
            return projected if key is None else projected + draw(key, projected.shape)

        return broken_cell(project=lambda input_size, hidden_size: project)

    case = Case(noisy(jax.random.normal))
    assert case.uses_key
    assert not sound_case().uses_key
    assert check.message("randomness", CLAUSES["randomness"], case) == ""


def test_every_clause_says_what_must_hold():
    assert all(clause.__doc__ for clause in (STRUCTURE | CLAUSES).values())
    assert not set(STRUCTURE) & set(CLAUSES)


# The commands.


@pytest.fixture
def no_set_up(monkeypatch):
    """The command sets up the backend of its process; not that of the tests."""
    monkeypatch.setattr(check.backend, "set_up", lambda compile_cache: None)


def test_a_new_cell_passes(tmp_path, capsys, no_set_up):
    path = tmp_path / "my_cell.py"
    assert new.STARTER.main([str(path)]) == 0
    said = capsys.readouterr().out
    assert f"python -m lstm_jax.cells.check {path}" in said
    assert f"--cell_file={path}" in said
    assert check.main([str(path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("my_cell: all ")
    assert "gradient by lag: " in said
    # It is the whole cell that is written, and short.
    code = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(code) < 35


def test_new_never_overwrites(tmp_path, capsys):
    path = tmp_path / "my_cell.py"
    path.write_text("precious")
    assert new.STARTER.main([str(path)]) == 2
    assert path.read_text() == "precious"
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-cell.py", "a cell file is named <function>.py"),
        ("my_cell", "a cell file is named <function>.py"),
        ("class.py", "a cell file is named <function>.py"),
        ("lstm.py", "there is a cell lstm already"),
        ("jax.py", "would hide the module jax"),
        ("random.py", "would hide the module random"),
        ("missing/my_cell.py", "cannot be written"),
    ],
)
def test_new_refuses_names(tmp_path, monkeypatch, capsys, name, words):
    monkeypatch.chdir(tmp_path)
    assert new.STARTER.main([name]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_is_wrong(tmp_path, capsys, no_set_up):
    path = tmp_path / "drifting.py"
    source = new.TEMPLATE.replace("NAME", "drifting")
    path.write_text(source.replace("return Carry(hidden), h", "return Carry(projected > 0), h"))
    assert check.main([str(path)]) == 1
    assert capsys.readouterr().out == "step: carry leaf `hidden` drifts from float32 to bool\n"


def test_check_goes_through_the_words_of_options(tmp_path, capsys, no_set_up):
    path = tmp_path / "optional.py"
    source = new.TEMPLATE.replace("NAME", "optional").replace(
        "leak: float = -2.0", "leak: float = -2.0, twice: bool = False"
    )
    path.write_text(
        source.replace("Carry(hidden), hidden", "Carry(hidden), hidden[:1] if twice else hidden")
    )
    assert check.main([str(path)]) == 1
    line = capsys.readouterr().out
    assert line.startswith("optional:twice=True: step: the output is float32[1]")
    assert check.main([str(path), "optional:twice=true"]) == 1
    assert capsys.readouterr().out.startswith("step: the output is float32[1]")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.py"], "'nothing.py': cannot be read (No such file or directory)"),
        (["elman"], f"cell 'elman' is not known: allowed are {', '.join(sorted(CELLS))}"),
        (["lstm:gates=3"], "lstm has no option 'gates=3'"),
        (["lstm", "lstm:init=pytorch"], "a cell file is named"),
        ([], "usage: "),
        (["--fast"], "usage: "),
    ],
)
def test_what_check_cannot_use(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert check.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_the_command_runs(tmp_path):
    command = [sys.executable, "-m", "lstm_jax.cells.new", "own.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "own.py").exists()


# Diagnosis: at which lag the gradient of a fresh cell is lost.


def linear(input_size, hidden_size, *, decay: float = 0.5, kind: Literal["a", "b"] = "a"):
    def step(weights, carry, projected, dot=jnp.matmul):
        hidden = decay * carry.hidden + projected
        return Carry(hidden, carry.clock + 1), hidden

    return Cell(
        init=lambda key: {"scale": jnp.ones(hidden_size)},
        initial_carry=lambda weights: Carry(jnp.zeros_like(weights["scale"]), jnp.int32(0)),
        project=lambda weights, inputs, key: weights["scale"] * inputs.sum(),
        step=step,
        output_size=hidden_size,
    )


def test_gradient_by_lag_of_a_linear_cell_is_its_decay():
    norms = fading.gradient_norms(linear(3, 4), 3, lags=12)
    np.testing.assert_allclose(norms[1:] / norms[:-1], 0.5, rtol=1e-5)
    # 0.5 ** 20 is the first below a millionth: lag 21, beside lag 1.
    assert "from lag 21 on" in fading.describe(linear)
    assert "at lag 400 still 1 of" in fading.describe(partial(linear, decay=1.0))
    assert "0 at lag 1 already" in fading.describe(partial(linear, decay=0.0))
    assert "not finite from lag" in fading.describe(partial(linear, decay=10.0))


def test_variations_are_the_words_of_options():
    assert check.variations(linear) == [{"kind": "b"}]
    assert {"init": "chrono"} in check.variations(CELLS["lstm"])
    assert check.label("lstm", {"init": "chrono"}) == "lstm:init=chrono"
