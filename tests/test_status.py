"""`launch.status`: what files alone say of a sweep that may still be running."""

import itertools
import json
import re
import signal

import made_rows
import pytest
from launching import command, ended

from launch import status
from lstm_jax import results
from lstm_jax.errors import InputError


def half_done(directory):
    """Two cells at two gaps: of eight trials four ended (one failed), two under way."""
    records = made_rows.sweep({"rnn": {5: [1.0, None]}, "lstm": {5: [1.0, 0.2]}})
    under_way = [
        made_rows.record(0.5, under_way=True, cell="rnn", gap=10, seed=seed, budget=300)
        for seed in (0, 1)
    ]
    waiting = [f"recall-gap10-lstm-h32-lr0.003-seed{seed}-{'0' * 12}" for seed in (0, 1)]
    return made_rows.write(directory, [*records, *under_way], waiting)


def watched_here(directory):
    """Runs `--watch` in this process; returns its exit status."""
    status.FLAGS(["status", f"--results_dir={directory}", "--watch"])
    try:
        return status.main()
    finally:
        status.FLAGS.unparse_flags()
        for name in ("results_dir", "watch"):
            status.FLAGS[name].unparse()


def test_counts_are_those_of_the_rows(tmp_path):
    found = status.look(str(half_done(tmp_path)))
    assert (found.planned, found.finished, found.under_way) == (8, 4, 2)
    assert found.failures == {"loss is not finite": 1}
    assert found.warnings == []
    assert not found.over


def test_time_left_is_of_the_work_left(tmp_path):
    """By hand: a sequence is its gap and 17 steps long, an evaluation took 0.5 s for 6 trials."""
    found = status.look(str(half_done(tmp_path)))
    work = 4 * 600 * 22 + 2 * 300 * 27
    left = 2 * 300 * 27 + 2 * 600 * 27
    assert found.seconds_left == pytest.approx(6 * 0.5 / 6 / work * left)
    assert found.cohorts == 1


def test_time_left_is_not_guessed_before_a_trial_has_ended(tmp_path):
    made_rows.write(tmp_path, [made_rows.record(0.5, under_way=True)], ["other"])
    found = status.look(str(tmp_path))
    assert found.seconds_left is None
    assert "unknown before a trial has ended" in status.text(found)


def test_a_finished_sweep_has_its_table_and_nothing_left(tmp_path):
    made_rows.write(tmp_path, made_rows.sweep({"rnn": {5: [1.0, 0.2], 10: [0.2, 0.2]}}))
    found = status.look(str(tmp_path))
    assert found.over
    assert found.seconds_left == 0
    text = status.text(found)
    assert "4 trials: 4 finished (100%), 0 of them failed, 0 under way, 0 not started" in text
    assert "time left" not in text
    assert re.search(r"^rnn .* 1/2 +0/2", text, flags=re.MULTILINE)


def test_a_planned_sweep_that_has_not_begun(tmp_path):
    made_rows.write(tmp_path, [], ["a", "b"])
    out, _ = ended(command("launch.status", f"--results_dir={tmp_path}"))
    assert out.startswith("2 trials: 0 finished (0%), 0 of them failed, 0 under way, 2 not started")


def test_damage_is_told_and_the_rest_counts(tmp_path):
    directory = half_done(tmp_path)
    torn, noise = sorted(directory.glob("*.jsonl"))[:2]
    torn.write_bytes(torn.read_bytes()[:-20])
    noise.write_text("\x1b[31m" * 100)
    found = status.look(str(directory))
    assert found.planned == 8
    assert len(found.warnings) == 2
    assert status.text(found).isprintable() or "\x1b" not in status.text(found)


def test_what_a_stranger_wrote_is_shortened_and_made_printable(tmp_path):
    records = []
    for seed in range(9):
        made = made_rows.record(None, seed=seed)
        made.ends[0]["reason"] = f"\x1b[2J{seed}" + "x" * 5000
        records.append(made)
    text = status.text(status.look(str(made_rows.write(tmp_path, records))))
    assert "\x1b" not in text
    assert text.count("failed: 1 trials: ?[2J") == 5
    assert "and 4 more such lines" in text
    assert max(map(len, text.splitlines())) < 300


def test_percent_is_not_rounded_up_to_all(tmp_path):
    records = [made_rows.record(0.2, seed=seed) for seed in range(3)]
    made_rows.write(tmp_path, records, [f"waiting-{number}" for number in range(2)])
    found = status.look(str(tmp_path))
    text = status.text(found._replace(planned=1000, finished=999))
    assert "1000 trials: 999 finished (99%)" in text


def test_rows_without_a_plan_are_never_all_that_was_planned(tmp_path):
    made_rows.write(tmp_path, [made_rows.record(0.2)])
    manifest = tmp_path / results.MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-10])
    found = status.look(str(tmp_path))
    assert (found.planned, found.finished, found.over) == (1, 1, False)
    text = status.text(found)
    assert "%" not in text.splitlines()[0]
    assert "the plan cannot be read" in text
    assert "time left: unknown" in text
    manifest.unlink()
    with pytest.raises(InputError, match="holds no manifest"):
        status.look(str(tmp_path))


def test_cells_come_in_the_order_of_the_plan(tmp_path):
    made_rows.write(tmp_path, made_rows.sweep({"rnn": {5: [1.0]}, "gru": {5: [0.2]}}))
    table = status.look(str(tmp_path)).table
    assert table.index("\nrnn ") < table.index("\ngru ")


def test_a_horizon_beyond_the_gaps_tried_is_censored(tmp_path):
    sweep = {"rnn": {5: [1.0], 10: [1.0]}, "gru": {5: [0.2], 10: [0.2]}}
    table = status.text(status.look(str(made_rows.write(tmp_path, made_rows.sweep(sweep)))))
    assert "horizons (> and <: beyond the gaps that have ended)" in table
    assert re.search(r"^rnn .* > 10", table, flags=re.MULTILINE)
    assert re.search(r"^gru .* < 5", table, flags=re.MULTILINE)


def test_a_raised_budget_is_under_way_again(tmp_path):
    made = made_rows.record(0.5, budget=600)
    later = made_rows.evaluation_row(made.trial, 700, 0.6)
    made_rows.write(tmp_path, [made._replace(evaluations=(*made.evaluations, later))])
    path = results.trial_path(tmp_path, made.trial["trial_id"])
    results.write_rows(path, [made.trial, *made.evaluations, *made.ends, later])
    found = status.look(str(tmp_path))
    assert (found.finished, found.under_way) == (0, 1)


def test_mixed_budgets_are_told(tmp_path):
    records = [made_rows.record(0.2, seed=0, budget=600), made_rows.record(0.2, seed=1, budget=900)]
    text = status.text(status.look(str(made_rows.write(tmp_path, records))))
    assert "budgets differ: 600 to 900 updates" in text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--results_dir=nowhere"], "--results_dir: nowhere: no such directory"),
        (["--results_dir=."], "--results_dir: .: holds no manifest.json"),
        (
            ["--results_dir=s3://b/c"],
            "--results_dir: 's3://b/c': must be a local directory or gs://",
        ),
        (["--every=0"], "--every"),
        (["--watch=2"], "--watch"),
    ],
)
def test_a_wrong_command_line_is_one_line(tmp_path, flags, said):
    _, err = ended(command("launch.status", *flags, cwd=tmp_path), status=2)
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_watching_ends_with_the_sweep(tmp_path):
    directory = half_done(tmp_path / "rows")
    process = command("launch.status", f"--results_dir={directory}", "--watch", "--every=1")
    assert "8 trials: 4 finished" in process.stdout.readline() + process.stdout.readline()
    for path in list(directory.glob("*.jsonl")):
        record = results.read(path)
        if not record.end:
            end = made_rows.end_row(record.trial, 0.5, 600)
            results.write_rows(path, [record.trial, *record.evaluations, end])
    manifest = directory / results.MANIFEST
    kept = [name for name in results.read_manifest(directory) if "0" * 12 not in name]
    manifest.write_text(json.dumps({"schema": 1, "trials": kept}))
    out, _ = ended(process)
    assert "6 trials: 6 finished (100%)" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_during_the_first_look_ends_it(tmp_path, monkeypatch, number, code):
    def look(directory):
        signal.raise_signal(number)
        return found

    found = status.look(str(half_done(tmp_path)))
    monkeypatch.setattr(status, "look", look)
    assert watched_here(tmp_path) == code


def test_watching_goes_on_where_a_look_fails(tmp_path, monkeypatch, capsys):
    """A disk or a store that is out of reach for a while ends no watch."""
    made_rows.write(tmp_path, [made_rows.record(0.2)], ["waiting"])
    before = status.look(str(tmp_path))
    after = before._replace(planned=1)
    looks = iter([before, OSError(5, "Input/output\x1b[2J error"), after])

    def look(directory):
        found = next(looks)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(status, "look", look)
    monkeypatch.setattr(status.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(status.time, "monotonic", itertools.count(step=100).__next__)
    assert watched_here(tmp_path) == 0
    out = capsys.readouterr().out
    assert "cannot be read, will be tried again: OSError: [Errno 5] Input/output?[2J error" in out
    assert "\x1b" not in out
    assert out.count(" 1 finished (") == 2


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    process = command("launch.status", f"--results_dir={half_done(tmp_path)}", "--watch")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1
    process.stderr.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_watching_ends_at_a_signal(tmp_path, number, code):
    directory = half_done(tmp_path)
    process = command("launch.status", f"--results_dir={directory}", "--watch", "--every=100")
    assert process.stdout.readline()
    process.send_signal(number)
    _, err = ended(process, status=code)
    assert err == ""
