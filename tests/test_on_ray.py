"""`launch.on_ray`, on a fresh cluster and on one of two nodes whose second node dies."""

import signal
import socket
import sys
import uuid

import pytest
from launching import (
    DEADLY,
    ENDLESS,
    LONG,
    SWEEP,
    command,
    ended,
    here,
    one_line,
    processes_with,
    ray_cluster,
    rows,
    undisturbed,
    unfinished,
    wait_until,
)

from launch import on_ray

pytestmark = pytest.mark.xdist_group("on_ray")  # shares what its fixtures have run

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes; what ends the second, and the flag of its address."""
    with ray_cluster() as (order, address):
        yield order, f"--address={address}"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return undisturbed([*SWEEP, "--gaps=2"], tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def expected_long(tmp_path_factory):
    return undisturbed(LONG, tmp_path_factory.mktemp("long"))


def test_two_nodes_give_the_rows_of_the_experiment_and_name_a_poison_cohort(
    tmp_path, cluster, expected
):
    """With the code sent along: the launcher starts where it is not."""
    (tmp_path / "deadly.py").write_text(DEADLY.replace("MARK", "None"))
    sweep = [*SWEEP, "--cells=rnn,gru,deadly", "--cell_file=deadly.py", "--gaps=2"]
    flags = cluster[1], "--results_dir=rows", "--retries=1", "--", *sweep
    out, _ = ended(command("launch.on_ray", *flags, cwd=tmp_path), status=1)
    assert rows(tmp_path / "rows") == expected
    assert out.count(": done") == 2
    assert "gap 2 deadly: WorkerCrashedError: The worker died unexpectedly" in out
    assert "(retries: 1)" in out
    assert "6 trials: 4 finished, 0 of them failed, 2 left" in out


def test_the_loss_of_a_node_is_survived(tmp_path, cluster, expected_long):
    process = command("launch.on_ray", cluster[1], f"--results_dir={tmp_path}", "--", *LONG)
    wait_until(unfinished(tmp_path, 4), process)  # one on each node
    cluster[0]("kill")
    out, _ = ended(process)
    assert "4 trials: 4 finished, 0 of them failed, 0 left" in out
    assert rows(tmp_path) == expected_long


def test_sigterm_saves_and_leaves_nothing_running_of_a_fresh_cluster(tmp_path):
    mark = f"LSTM_JAX_TEST_MARK={uuid.uuid4()}"
    flags = f"--results_dir={tmp_path}", "--", *ENDLESS
    process = command("launch.on_ray", *flags, environment=dict([mark.split("=")]))
    wait_until(unfinished(tmp_path), process)
    assert any("raylet" in line for line in processes_with(mark).values())
    process.send_signal(signal.SIGTERM)
    out, _ = ended(process)
    assert "run the same command to go on" in out
    assert unfinished(tmp_path)()
    assert processes_with(mark) == {}


def test_dry_run_says_what_would_be_issued(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    flags = "--address=10.0.0.7:6379", "--gpus_per_cohort=0.5", "--resources=tpu_host:1,x.y:0.5"
    assert here(on_ray, [*flags, "--results_dir=rows", "--dry_run", "--", *SWEEP]) == 0
    out = capfd.readouterr().out
    assert out.count("cohort recall") == 4
    assert "Ray: 10.0.0.7:6379" in out
    assert "num_cpus=1 num_gpus=0.5 resources={'tpu_host': 1.0, 'x.y': 0.5} max_retries=2" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--address=nowhere"], 2, "must be HOST:PORT or auto"),
        (["--address=localhost:99999"], 2, "must be HOST:PORT or auto"),
        (["--address=localhost:PORT"], 1, "refused"),
        (["--cpus_per_cohort=4000"], 2, "--cpus_per_cohort=4000: this machine has"),
        (["--cpus_per_cohort=0"], 2, "--cpus_per_cohort"),
        (["--gpus_per_cohort=60"], 2, "--gpus_per_cohort=60.0: this machine has"),
        (["--resources=tpu_host:1"], 2, "--resources: a fresh cluster has none"),
        (["--resources=tpu_host"], 2, "NAME:AMOUNT"),
        (["--resources=GPU:1"], 2, "--gpus_per_cohort"),
        (["--address=a:1", "--resources=x:1,x:2"], 2, "given twice"),
    ],
)
def test_a_wrong_command_line_is_one_line(tmp_path, monkeypatch, capfd, flags, status, said):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("localhost", 0))
        flags = [flag.replace("PORT", str(closed.getsockname()[1])) for flag in flags]
        found, error = one_line(on_ray, [*flags, "--results_dir=rows", "--", *SWEEP], capfd)
    assert found == status, error
    assert said in error
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ray_at_an_address_is_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(on_ray, "_ANSWER_SECONDS", 1)
    with socket.create_server(("localhost", 0)) as silent:
        address = f"--address=localhost:{silent.getsockname()[1]}"
        flags = address, f"--results_dir={tmp_path / 'rows'}", "--", *SWEEP
        status, error = one_line(on_ray, flags, capfd)
    assert status == 1
    assert "not Ray" in error
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "ray", None)
    status, error = one_line(on_ray, [f"--results_dir={tmp_path}", "--", *SWEEP], capfd)
    assert status == 2
    assert "pip install 'lstm_jax[ray]'" in error
