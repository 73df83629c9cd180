"""What every task must satisfy, clause by clause; `tasks/check.py` runs them.

A clause is a function of a `Case` that raises `BrokenClauseError` and says in words what is wrong;
its docstring is what must hold.
"""

from collections.abc import Callable

from lstm_jax.tasks.contract import answers, form
from lstm_jax.tasks.contract.case import Case

Clause = Callable[[Case], None]
# In this order; what a later clause reads, an earlier one has held to be there.
CLAUSES: dict[str, Clause] = {
    "fields": form.fields,
    "shapes": form.shapes,
    "values": form.values,
    "times": form.times,
    "lag": form.lag,
    "gap": form.gap,
    "same_key": form.same_key,
    "position": form.position,
    "loss": answers.loss,
    "blind": answers.blind,
    "constant": answers.constant,
    "clock": answers.clock,
    "leak": answers.leak,
    "oracle": answers.oracle,
    "splice": answers.splice,
    "evaluation": answers.evaluation,
}
# The part that a user's task must pass before it is run: all that shows without compiling much.
STRUCTURE: dict[str, Clause] = {
    name: CLAUSES[name] for name in ("fields", "shapes", "values", "times", "lag")
} | {"gap": form.least_lag}

__all__ = ["CLAUSES", "STRUCTURE", "Case", "Clause"]
