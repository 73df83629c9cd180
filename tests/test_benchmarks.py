"""The benchmarks compare like with like; what they say of speed is not tested."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import by_hand, over_time, peers, scaling, sweep_vs_torch, unroll_vs_peers

SHAPE = (7, 3, 2, 4)


@pytest.mark.parametrize("cell", peers.GATES)
@pytest.mark.parametrize("name", ["plain lax.scan", "Flax linen", "Flax NNX"])
def test_peers_compute_the_same(cell, name):
    given = unroll_vs_peers.problem(cell, SHAPE)

    def results(build):
        work = build(cell, *given)
        return work.outputs(work.forward()), work.recurrent(work.backward())

    ours = results(peers.ours)
    assert ours[0].shape == (7, 3, 4)
    unroll_vs_peers.compared(cell, name, results(peers.PEERS[name]), ours)
    with pytest.raises(SystemExit, match="outputs differ"):
        unroll_vs_peers.compared(cell, name, (ours[0] + 1, ours[1]), ours)


@pytest.mark.parametrize("cell", by_hand.HANDS)
def test_parts_written_by_hand_are_those_of_the_layer(cell):
    calls = by_hand.parts(cell, *SHAPE)
    gradient = calls["unroll"]().recurrent_kernel
    np.testing.assert_allclose(calls["weight product"](), gradient, rtol=1e-4, atol=1e-5)


def test_weights_are_packed_as_cudnn_has_them():
    """By the reference that `jax.experimental.rnn` has for its own kernel, which needs a GPU."""
    from jax.experimental import rnn

    def run(x, h, c, packed, lengths, *, input_size, hidden_size, num_layers, **options):
        sizes = input_size, hidden_size, num_layers
        unpacked = rnn.unpack_lstm_weights(packed, *sizes, False)
        return rnn.lstm_ref(x, h, c, *unpacked, lengths, *sizes, **options)

    given = unroll_vs_peers.problem("lstm", SHAPE)
    assert peers.jax_rnn("lstm", *given) is None  # no GPU here
    ours, work = peers.ours("lstm", *given), peers.jax_rnn("lstm", *given, run=run)
    results = [
        (work.outputs(work.forward()), work.recurrent(work.backward())) for work in (work, ours)
    ]
    unroll_vs_peers.compared("lstm", "jax.experimental.rnn", *results)


def test_points_of_scaling_reach_the_longest_sequence():
    points = scaling.points(100_000)
    assert {100_000} == {max(p["steps"] for p in points if p["axis"] == "segments")}
    assert all(p["segment"] ** 2 <= p["steps"] for p in points)


def test_one_point_is_measured():
    small = {**scaling.BASE, "steps": 5, "batch": 2, "hidden": 3, "segment": 2, "axis": "steps"}
    # In a process of its own, as there: it binds itself to a core.
    command = [sys.executable, "-m", "benchmarks.scaling", f"--one={json.dumps(small)}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["milliseconds"] > 0
    assert row["peak_mib"] > 0


def test_pytorch_is_given_the_work_that_ours_did(tmp_path):
    (tmp_path / "one.jsonl").write_text(
        '{"kind": "trial", "cell": "lstm", "hidden_size": 8, "gap": 5, "seed": 3}\n'
        '{"kind": "evaluation", "update": 0}\n{"kind": "evaluation", "update": 50}\n'
        '{"kind": "evaluation", "update": 100}\n{"kind": "end"}\n'
    )
    (work,) = sweep_vs_torch.work_of(tmp_path)
    assert work == {
        "cell": "lstm",
        "hidden": 8,
        "gap": 5,
        "seed": 3,
        "updates": 100,
        "evaluations": 2,
    }


def test_the_two_senses_of_z_undo_each_other():
    array = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(peers._gru_zrn(peers._gru_rzn(array)), array)


def test_ways_to_run_over_time_print_their_tables(capsys):
    over_time.linear(["lru"], [(5, 2, 4)], rounds=1)
    over_time.newton(["rnn"], [6], updates=1, rounds=1)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    lru, *rnn = [row.split(" | ") for row in rows if row.startswith(("| lru", "| rnn"))]
    assert len(lru) == 9
    assert [row[1] for row in rnn] == ["at the start", "after 1 updates"]
    assert all(1 <= int(row[3]) <= 6 for row in rnn)
