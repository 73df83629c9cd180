"""Redrawing from rows: figures, files, and the command, without JAX."""

import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import made_rows
import pytest

from experiments import figures as command
from lstm_jax import results
from lstm_jax.drawing import save
from lstm_jax.errors import InputError
from lstm_jax.figures import accuracy_figure, redraw
from lstm_jax.horizons_figure import horizons_figure
from lstm_jax.summary import summarise

FROZEN = pathlib.Path(__file__).parent / "frozen_v1"
ROOT = pathlib.Path(__file__).parents[1]

# Runs the command as `python -m experiments.figures` does, where importing any of these fails.
WITHOUT_JAX = """
import runpy, sys
for name in ("jax", "jaxlib", "flax", "optax", "orbax", "tensorflow", "tensorflow_datasets"):
    sys.modules[name] = None
runpy.run_module("experiments.figures", run_name="__main__", alter_sys=True)
"""


def run_command(*arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX, *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.fixture
def frozen(tmp_path):
    """A copy of the frozen results: redrawing writes into the directory."""
    return pathlib.Path(shutil.copytree(FROZEN, tmp_path / "frozen"))


def test_frozen_results_redraw_for_ever(frozen):
    text, paths = redraw(frozen)
    assert text == (FROZEN / "expected_table.txt").read_text()
    tables, drawn = ["horizons.md", "accuracy.md"], "accuracy_against_gap"
    assert [path.name for path in paths] == [*tables, f"{drawn}.png", f"{drawn}.svg"]
    assert all(path.stat().length > 500 for path in paths)


def test_redrawn_without_jax_in_another_process_byte_for_byte(frozen, tmp_path):
    text, paths = redraw(frozen)
    again = shutil.copytree(FROZEN, tmp_path / "again")
    outcome = run_command(f"--results_dir={again}")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(text)
    for path in paths:
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name
        assert f"wrote {again / path.name}" in outcome.stdout


def test_a_directory_without_results_is_one_line_and_status_two(tmp_path):
    outcome = run_command(f"--results_dir={tmp_path / 'nowhere'}")
    assert (outcome.returncode, outcome.stdout) == (2, "")
    (line,) = outcome.stderr.splitlines()
    assert "--results_dir" in line
    assert "nowhere: no such directory; allowed is" in line


def test_messages_of_the_command(tmp_path, capsys):
    for arguments, message in [
        ([f"--results_dir={tmp_path}"], "holds no results; allowed is"),
        (["--results_dri=x"], "--results_dri: not a flag"),
        (["results"], "'results' is not a flag"),
    ]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["figures", *arguments])
            patched.setattr("warnings.showwarning", None)
            with pytest.raises(SystemExit) as stopped:
                command.commands.run(command.main, command.FLAGS, command.__doc__)
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
        assert not list(tmp_path.iterdir())


def test_svg_holds_real_text_and_no_date(frozen):
    redraw(frozen)
    svg = (frozen / "accuracy_against_gap.svg").read_text()
    root = xml.etree.ElementTree.fromstring(svg)
    words = {"".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("}text")}
    assert {"5", "20", "80", "gap (steps)", "recall: accuracy against gap", "half"} <= words
    assert any("told the gap" in word for word in words)
    assert "Partial: 3 of 38 planned trials have not ended." in words
    assert not re.search(r"<dc:date>|20\d\d-\d\d-\d\d", svg)


def test_one_figure_for_each_task(tmp_path):
    records = [
        made_rows.record(1.0, task=task, seed=seed, swept_by=swept)
        for task, swept in [("recall", "gap"), ("adding:layout=halves", "length")]
        for seed in range(5)
    ]
    made_rows.write(tmp_path, records)
    text, paths = redraw(tmp_path)
    assert [path.name for path in paths if path.suffix == ".svg"] == [
        "accuracy_against_gap_recall.svg",
        "accuracy_against_gap_adding_layout_halves.svg",
    ]
    assert "length (steps)" in paths[-1].read_text()
    assert "solved it at each length (steps)" in text


def test_cells_keep_the_order_of_the_manifest_unless_told(tmp_path):
    records = made_rows.sweep({cell: {5: [1.0], 10: [1.0]} for cell in ("rnn", "lstm", "gru")})
    made_rows.write(tmp_path, records)

    def order(**options):
        return re.findall("^(rnn|lstm|gru)", redraw(tmp_path, **options)[0], re.MULTILINE)

    assert order() == ["rnn", "lstm", "gru"]
    assert order(order=["gru"]) == ["gru", "rnn", "lstm"]
    assert order(records=records[1:3]) == ["lstm", "gru"]


def test_a_sweep_with_nothing_ended_has_a_table_and_no_figure(tmp_path):
    records = [made_rows.record(0.5, gap=gap, under_way=True) for gap in (5, 10)]
    made_rows.write(tmp_path, records, planned=["recall-20-lstm-0-planned"])
    text, paths = redraw(tmp_path)
    assert [path.name for path in paths] == ["horizons.md", "accuracy.md"]
    assert "Partial: 3 of 3 planned trials have not ended." in text
    with pytest.raises(InputError, match="have ended"):
        accuracy_figure(summarise(records))


def test_torn_and_corrupt_files_are_passed_over_with_a_warning(frozen):
    paths = sorted(frozen.glob("*.jsonl"))
    paths[0].write_text("not a trial\n")
    paths[1].write_text(paths[1].read_text()[:-20])
    with pytest.warns(results.ResultsWarning) as warned:
        text, _ = redraw(frozen)
    assert len(warned) == 2
    assert "Partial: 5 of 38" in text


def test_many_cells_and_gaps_are_drawn(tmp_path):
    gaps = [round(2 * 2 ** (step / 2)) for step in range(1, 24)]
    cells = {f"cell_{number}": {gap: [1.0, 0.2] for gap in gaps} for number in range(16)}
    figure = accuracy_figure(summarise(made_rows.sweep(cells)))
    above, below = figure.axes
    shown = [label.get_text() for label in below.get_xticklabels()]
    assert 5 <= len(shown) <= 15
    assert shown[0] == str(gaps[0])
    assert not below.xaxis.get_minorticklocs().size
    looks = {
        (line.get_color(), line.get_marker(), line.get_linestyle())
        for line in figure.legends[0].get_lines()
    }
    assert len(looks) == 16
    assert above.get_xscale() == "log"


def test_horizons_of_many_cells_stand_one_below_the_other(tmp_path):
    gaps = (5, 10, 20, 40)
    reach = {"beyond": 40, "between": 10, "before": 0, **{f"cell_{n}": 20 for n in range(12)}}
    cells = {
        cell: {gap: [1.0 if gap <= last else 0.2] * 6 for gap in gaps}
        for cell, last in reach.items()
    }
    records = made_rows.sweep(cells)
    records += made_rows.sweep({"told": {5: [1.0] * 6, 40: [0.2] * 6}}, told_gap=True)
    made_rows.write(tmp_path, records)
    _, paths = redraw(tmp_path)
    assert [path.name for path in paths if path.suffix == ".svg"] == [
        "accuracy_against_gap_1.svg",
        "accuracy_against_gap_2.svg",
        "horizons.svg",
    ]
    second = paths[-3].read_text()
    assert "cell_11" in second
    assert "beyond" not in second
    svg = paths[-1].read_text()
    assert "told (told the gap)" in svg
    figure = horizons_figure(summarise(records), note="a note")
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [*reach, "told (told the gap)"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first on top
    at = {(round(line.get_ydata()[0]), line.get_marker()) for line in axes.get_lines()}
    assert {(0, ">"), (2, "<")} <= at
    assert (1, "o") not in at  # a thick bar from 10 to 20
    assert "a note" in axes.get_title(loc="left")
    with pytest.raises(InputError, match="needs ended trials"):
        horizons_figure([])


def test_few_cells_need_no_figure_of_horizons(frozen):
    assert not [path for path in redraw(frozen)[1] if path.name.startswith("horizons.p")]


def test_cells_told_the_gap_are_dashed_and_equal_seeds_hollow(tmp_path):
    records = made_rows.sweep({"lstm": {5: [1.0] * 5, 10: [0.9, 0.8, 1.0, 1.0, None]}})
    records += made_rows.sweep({"told": {5: [1.0] * 5}}, told_gap=True)
    figure = accuracy_figure(summarise(records), note="a note")
    free, told = figure.legends[0].get_lines()
    assert (free.get_linestyle(), told.get_linestyle()) == ("-", "--")
    assert "(told the gap)" in told.get_label()
    lines = figure.axes[0].get_lines()
    assert sum(line.get_markerfacecolor() == "white" for line in lines) == 2
    assert any(line.get_marker() == "x" and len(line.get_xdata()) for line in lines)
    assert "a note" in figure.axes[0].get_title(loc="left")


def test_words_that_look_like_mathematics_or_markup_are_drawn_as_they_are(tmp_path):
    record = made_rows.record(1.0, cell="_my$\\frac$<cell>&", task="a$b$")
    paths = save(accuracy_figure(summarise([record])), tmp_path / "figure")
    assert "&lt;cell&gt;&amp;" in paths[1].read_text()
