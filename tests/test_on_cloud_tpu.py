"""Cloud TPU: the real client, a service of our own, and nothing left running on any way out."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from absl.flags import IllegalFlagValueError
from fake_tpu import FakeTpu, State
from google.cloud import tpu_v2
from paper_machine import Machine, make_checkout

from launch import on_cloud_tpu, shipping, tpu_service, tpu_watch
from launch.accelerators import read
from launch.base import Campaign, Job
from lstm_jax import figures, results
from lstm_jax.errors import InputError, MissingExtraError

pytestmark = pytest.mark.xdist_group("on_cloud_tpu")  # shares what its fixtures have run

ROOT = Path(__file__).parent.parent
SWEEP = [
    "--task=recall:lead_in=2:symbols=4", "--cells=rnn", "--gaps=2", "--seeds=1", "--updates=10",
    "--hidden_size=4", "--batch_size=4", "--eval_every=10",
]  # fmt: skip
WHERE = ["--project=a-project", "--zone=us-west4-a", "--accelerator=v5e-16"]
Code = grpc.StatusCode
PACK = shipping.pack


@pytest.fixture(scope="module")
def work():
    from experiments.work import load

    return load("experiments.gap_sweep", SWEEP)


@pytest.fixture(scope="module")
def finished_rows(work, tmp_path_factory):
    """A directory with the rows of the whole sweep."""
    from lstm_jax import running

    directory = tmp_path_factory.mktemp("finished")
    running.run(
        work.trials, directory, **{k: v for k, v in work._asdict().items() if k != "trials"}
    )
    return directory


@pytest.fixture
def service(monkeypatch):
    with FakeTpu() as fake:
        monkeypatch.setenv(tpu_service.ENDPOINT, fake.endpoint)
        yield fake


@pytest.fixture
def launch(monkeypatch, tmp_path, work, service):
    """Runs the launcher in this process, with a local directory in place of a bucket."""
    monkeypatch.setattr(on_cloud_tpu, "SCHEME", "/")
    monkeypatch.setattr(
        shipping, "pack", lambda root, arguments: shipping.Parcel(b"", "0", list(arguments), 0, [])
    )
    monkeypatch.setattr(figures, "redraw", lambda directory: ("the table", []))
    flags = on_cloud_tpu.FLAGS

    def run(*given):
        for name in flags:
            flags[name].unparse()
        flags(["x", *WHERE, f"--results_dir={tmp_path}", "--poll_seconds=0.01", *given])
        on_cloud_tpu.check_flags()
        job = Job("experiments.gap_sweep", SWEEP, str(tmp_path))
        return on_cloud_tpu.launch(Campaign(job, work, flags))

    return run


def machines_say(job, word, text="the last line"):
    folder = Path(json.loads(job)["run"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"0.{word}").write_text(text)


@pytest.fixture
def finish(finished_rows, tmp_path):
    """What machines do that finish the sweep."""

    def do(job):
        for path in finished_rows.glob("*.jsonl"):
            shutil.copy(path, tmp_path)
        machines_say(job, "done")

    return do


def test_create_preempt_recreate_finish_delete(launch, service, finish, capsys):
    runs = []

    def on_active(job):
        runs.append(json.loads(job)["run"])
        if len(runs) == 3:
            finish(job)

    def on_look(path, looks):
        if looks == 5 and len(runs) < 3:
            service.preempt([State.SUSPENDED, State.FAILED][len(runs) - 1])

    service.on_active, service.on_look = on_active, on_look
    assert launch() == 0
    assert service.empty
    assert len(set(runs)) == 3
    assert service.calls.count("CreateQueuedResource") == 3
    assert service.calls.count("DeleteQueuedResource") == 3
    out = capsys.readouterr().out
    assert "lost: SUSPENDED" in out
    assert "about $9.60 an hour (16 chips at $0.6; spot" in out
    assert "deleted; it was active for 0.00 hours" in out
    assert "1 trials: 1 finished" in out


def test_what_is_asked_for(launch, service, finish):
    service.on_active = finish
    assert launch("--spot=false", "--network=inside", "--service_account=a@b.iam", "--name=x") == 0
    (asked,) = service.created
    (spec,) = asked.tpu.node_spec
    assert "guaranteed" in asked
    assert "spot" not in asked
    assert spec.node_id == "x"
    assert spec.node.accelerator_type == "v5litepod-16"
    assert spec.node.runtime_version == "v2-alpha-tpuv5-lite"
    assert spec.node.network_config.network == "inside"
    assert spec.node.service_account.email == "a@b.iam"
    assert spec.node.metadata["startup-script"] == Path(on_cloud_tpu.TEMPLATE).read_text()
    job = json.loads(spec.node.metadata["lstm-jax"])
    assert job["behind"] == ["experiments.gap_sweep", *SWEEP]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("state", [State.WAITING_FOR_RESOURCES, State.ACTIVE])
def test_a_signal_deletes_it(launch, service, number, state):
    service.path = [State.WAITING_FOR_RESOURCES, state]

    def on_look(path, looks):
        if looks in (3, 4):  # a second one must not break the deleting off
            os.kill(os.getpid(), number)

    service.on_look = on_look
    assert launch() == (130 if number == signal.SIGINT else 0)
    assert service.created
    assert service.empty


def test_signals_while_deleting_do_not_break_it_off(launch, service, finish):
    service.on_active = finish
    service.failures["DeleteQueuedResource"] = [(Code.UNAVAILABLE, "later")] * 3
    real = tpu_service.Resource._gone

    def gone(self):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tpu_service.Resource, "_gone", gone)
        launch()
    assert service.empty


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, BrokenPipeError])
def test_a_crash_deletes_it(launch, service, monkeypatch, error):
    def ended(self, found):
        if found.state == "ACTIVE":
            raise error("thrown in the watch")

    monkeypatch.setattr(tpu_watch.Watch, "_ended", ended)
    monkeypatch.setattr(tpu_watch, "_UNANSWERED", 3)
    with pytest.raises(error):
        launch()
    assert service.created
    assert service.empty


def test_what_an_earlier_launcher_may_have_left_is_told_where_nobody_answers(launch, service):
    """Told to stop before the service has answered once."""
    service.failures["GetQueuedResource"] = [(Code.UNAVAILABLE, "later")] * 1000
    with pytest.raises(OSError, match="MAY BE LEFT RUNNING, if an earlier launcher") as told:
        launch("--max_hours=0.0003")
    assert "queued-resources delete" in str(told.value)
    assert not service.created


def test_max_hours_delete_it(launch, service, capsys):
    assert launch("--max_hours=0.0002") == 0
    assert service.created
    assert service.empty
    assert "at most $0.00 for --max_hours" in capsys.readouterr().out


def test_a_service_that_does_not_answer_is_asked_again(launch, service, finish):
    service.on_active = finish
    silent = [(Code.UNAVAILABLE, "try later"), (Code.DEADLINE_EXCEEDED, "slow")]
    service.failures = {
        name: list(silent)
        for name in ("CreateQueuedResource", "GetQueuedResource", "DeleteQueuedResource", "GetNode")
    }
    assert launch() == 0
    assert service.empty
    assert not any(service.failures.values())


def test_an_answer_lost_after_creating_is_found(launch, service, finish):
    service.on_active, service.unheard = finish, ["CreateQueuedResource"]
    assert launch() == 0
    assert len(service.created) == 1
    assert service.empty


def test_an_answer_lost_before_a_signal_leaves_nothing(launch, service, monkeypatch):
    service.unheard = ["CreateQueuedResource"]
    pause = tpu_watch.Watch._pause

    def interrupted(self, seconds):
        os.kill(os.getpid(), signal.SIGINT)
        pause(self, seconds)

    monkeypatch.setattr(tpu_watch.Watch, "_pause", interrupted)
    assert launch() == 130
    assert len(service.created) == 1
    assert service.empty


def test_silence_for_long_ends_it(launch, service, monkeypatch):
    monkeypatch.setattr(tpu_watch, "_UNANSWERED", 4)
    service.on_look = lambda path, looks: service.failures.setdefault(
        "GetQueuedResource", [(Code.UNAVAILABLE, "gone fishing")] * 12
    )
    with pytest.raises(OSError, match="gone fishing"):
        launch()
    assert service.empty


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (Code.RESOURCE_EXHAUSTED, "Quota limit TPUV5s has been exceeded"),
        (Code.PERMISSION_DENIED, "Permission tpu.nodes.create denied"),
        (Code.UNAUTHENTICATED, "no valid credentials"),
        (Code.INVALID_ARGUMENT, "accelerator type not found in zone"),
    ],
)
def test_a_refusal_is_one_line(launch, service, code, text):
    service.failures["CreateQueuedResource"] = [(code, text)]
    with pytest.raises(OSError, match=text) as told:
        launch()
    assert "\n" not in str(told.value)
    assert service.empty
    assert not service.created


def test_a_request_that_fails_for_quota_is_not_repeated(launch, service):
    def on_look(path, looks):
        state = service.resources[path].state
        state.state = State.FAILED
        state.failed_data = {"error": {"code": 8, "message": "Quota limit\n exceeded"}}

    service.on_look = on_look
    with pytest.raises(OSError, match="FAILED: Quota limit exceeded"):
        launch()
    assert service.empty
    assert len(service.created) == 1


def test_it_is_given_up_after_the_retries(launch, service, capsys):
    service.on_look = lambda path, looks: service.preempt() if looks == 4 else None
    assert launch("--retries=2") == 1
    assert len(service.created) == 3
    assert service.empty
    assert "lost 3 times, at last: SUSPENDED" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["node", "resource"])
def test_what_is_called_active_and_is_gone_is_lost(launch, service, finish, how):
    def on_look(path, looks):
        if looks == 4 and len(service.created) == 1:
            service.nodes.clear()
            if how == "resource":
                del service.resources[path]

    service.on_look = on_look
    service.on_active = lambda job: finish(job) if len(service.created) == 2 else None
    assert launch() == 0
    assert len(service.created) == 2
    assert service.empty


def test_failed_machines_are_named_and_not_repeated(launch, service, capsys):
    service.on_active = lambda job: machines_say(job, "failed", "No module named 'torch'")
    assert launch() == 1
    assert len(service.created) == 1
    assert service.empty
    out = capsys.readouterr().out
    assert "failed: process 0: No module named 'torch'" in out
    assert "0.log" in out


def test_done_without_rows_is_a_failure(launch, service, capsys):
    service.on_active = lambda job: machines_say(job, "done")
    assert launch() == 1
    assert service.empty
    assert "rows are missing" in capsys.readouterr().out


def test_machines_that_say_nothing_are_given_up(launch, service, monkeypatch, capsys):
    monkeypatch.setattr(tpu_watch, "SILENT_SECONDS", 0)
    assert launch() == 1
    assert service.empty
    assert "service account" in capsys.readouterr().out


def test_deletion_is_tried_until_it_works(launch, service, finish, capsys):
    service.on_active, service.nodes_stay = finish, True
    service.failures = {
        "DeleteQueuedResource": [(Code.FAILED_PRECONDITION, "being created")] * 3,
        "DeleteNode": [(Code.INTERNAL, "oops")] * 2,
    }
    assert launch() == 0
    assert service.empty
    assert "DeleteNode" in service.calls
    assert "not deleted yet: RefusedError: delete: FailedPrecondition" in capsys.readouterr().err


def test_what_cannot_be_deleted_is_said(launch, service, finish, monkeypatch):
    monkeypatch.setattr(tpu_service, "_DELETE_TRIES", 3)
    service.on_active = finish
    service.failures["DeleteQueuedResource"] = [(Code.PERMISSION_DENIED, "no")] * 9
    with pytest.raises(OSError, match=r"MAY BE LEFT RUNNING.*gcloud compute tpus queued-resources"):
        launch()


def already_there(launch, service, **changed):
    """Has a launcher die right after asking, its resource left behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tpu_watch.Watch, "delete", lambda self: None)
        patch.setattr(tpu_watch.Watch, "_ended", lambda self, found: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            launch()
    (resource,) = service.resources.values()
    metadata = resource.tpu.node_spec[0].node.metadata
    metadata["lstm-jax"] = json.dumps(json.loads(metadata["lstm-jax"]) | changed)


def test_one_of_a_killed_launcher_is_adopted(launch, service, finish, capsys):
    already_there(launch, service)
    service.on_active = finish
    assert launch() == 0
    assert len(service.created) == 1
    assert service.empty
    assert "watching it" in capsys.readouterr().out


@pytest.mark.parametrize("why", ["code", "state"])
def test_one_of_older_code_or_lost_is_replaced(launch, service, finish, why):
    already_there(launch, service, **({"sha256": "older"} if why == "code" else {}))
    if why == "state":
        service.preempt()
    service.on_active = finish
    assert launch() == 0
    assert len(service.created) == 2
    assert service.empty


@pytest.mark.parametrize(
    "job", [None, '{"behind": ["experiments.other"], "before": []}', "[1", "1"]
)
def test_one_of_somebody_else_is_left_alone(launch, service, job):
    node = {"metadata": {} if job is None else {"lstm-jax": job}}
    parent = "projects/a-project/locations/us-west4-a"
    spec = {"parent": parent, "node_id": "x", "node": node}
    service.on_active = lambda job: None
    service.put(
        {
            "parent": parent,
            "queued_resource_id": "x",
            "queued_resource": {"tpu": {"node_spec": [spec]}},
        },
        State.PROVISIONING,
    )
    with pytest.raises(InputError, match="--name=x: there is one"):
        launch("--name=x")
    assert len(service.resources) == 1
    assert "DeleteQueuedResource" not in service.calls


def test_nothing_left_asks_for_nothing(launch, service, finished_rows, tmp_path):
    for path in finished_rows.glob("*.jsonl"):
        shutil.copy(path, tmp_path)
    assert launch() == 0
    assert service.calls == []


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def machine(tmp_path):
    with contextlib.closing(Machine(tmp_path / "machine")) as paper:
        yield paper


# The command as a process of its own.


def command(checkout, *flags, scheme="gs://", **environment):
    code = (
        "from launch import base, on_cloud_tpu as c;"
        f"c.SCHEME, c.ROOT = {scheme!r}, {str(checkout)!r};"
        "base.run(c.launch, c.FLAGS, c.__doc__, c.check_flags)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *flags, "--", "experiments.gap_sweep", *SWEEP],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process, status):
    out, err = process.communicate(timeout=100)
    assert process.returncode == status, out + err
    assert "Traceback" not in err, err
    return out, err


def test_dry_run_needs_neither_packages_nor_credentials(tmp_path, checkout):
    (tmp_path / "google.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    # Odd characters are shown as they are, and go through as they are.
    process = command(
        checkout,
        "--accelerator=v5e-16",
        "--dry_run",
        "--results_dir=gs://a-bucket/a b/ü'$(x)",
        "--max_hours=2",
        PYTHONPATH=path,
    )
    out, _ = ended(process, 0)
    text = out.partition("CreateQueuedResource\n")[2].partition("\ngoogle.cloud.tpu")[0]
    asked = tpu_v2.CreateQueuedResourceRequest(json.loads(text)).queued_resource
    metadata = asked.tpu.node_spec[0].node.metadata
    assert "--results_dir=gs://a-bucket/a b/ü'$(x)" in json.loads(metadata["lstm-jax"])["before"]
    assert Path(on_cloud_tpu.TEMPLATE).read_text() in out
    assert "about $9.60 an hour" in out
    assert "at most $19.20 for --max_hours=2" in out
    assert '"force": true' in out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--accelerator=v5e-17"], "--accelerator=v5e-17: allowed are v4-8|16"),
        (["--accelerator=a100-8"], "--accelerator=a100-8: allowed are"),
        (["--project="], "--project: missing"),
        (["--project=x; rm"], "--project=x; rm: must be"),
        (["--name=Über"], "--name=Über: must be"),
        (["--zone=$(x)"], "--zone=$(x): must be"),
        (["--results_dir=rows"], "--results_dir=rows: must be gs://"),
        (["--results_dir=gs://"], "must be gs://"),
        (["--poll_seconds=0"], "--poll_seconds"),
        (["--spot=maybe"], "--spot"),
    ],
)
def test_a_wrong_flag_is_refused_before_anything(flags, said):
    own = on_cloud_tpu.FLAGS
    for name in own:
        own[name].unparse()

    def given():
        own(["x", "--results_dir=gs://b/c", *WHERE, *flags])
        on_cloud_tpu.check_flags()

    with pytest.raises((InputError, IllegalFlagValueError), match=re.escape(said)):
        given()


def test_a_missing_package_is_one_line(launch, tmp_path, monkeypatch):
    module = "google.cloud.tpu_v2.services.tpu.transports"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'lstm_jax[tpu]'")):
        launch()
    assert list(tmp_path.iterdir()) == []


def test_missing_credentials_are_one_line(launch, tmp_path, monkeypatch):
    monkeypatch.delenv(tpu_service.ENDPOINT)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "no such file"))
    with pytest.raises(
        InputError, match=r"no credentials.*gcloud auth application-default"
    ) as told:
        launch()
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_sigterm_to_the_command_deletes_it(service, tmp_path, checkout):
    process = command(
        checkout, *WHERE, f"--results_dir={tmp_path}", "--poll_seconds=0.1", scheme="/",
        **{tpu_service.ENDPOINT: service.endpoint},
    )  # fmt: skip
    until = time.time() + 60
    while not service.nodes and time.time() < until:
        time.sleep(0.05)
    assert service.nodes
    process.send_signal(signal.SIGTERM)
    out, _ = ended(process, 0)
    assert service.empty
    assert "run the same command to go on" in out


REALLY = """
    if [ "$3" = --dry_run ] || [ "$4" = --dry_run ]; then exec "$real" "$@"; fi
    set -- "$1" "$2" --coordinator=localhost:{port} --processes=1 --process=0 "${{@:3}}"
    exec "$real" "$@" """


def test_from_the_command_to_the_rows(
    launch, service, checkout, machine, tmp_path, monkeypatch, finished_rows
):
    """The parcel, the script and the real sweep: only the machine is made of paper."""
    monkeypatch.setattr(shipping, "pack", PACK)
    monkeypatch.setattr(on_cloud_tpu, "ROOT", str(checkout))
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    service.on_active = lambda job: machine(json.loads(job), REALLY.format(port=port))
    assert launch() == 0
    assert service.empty

    def rows(directory):
        return [
            (record.trial["trial_id"], record.end["accuracy"], record.end["loss"])
            for record in results.read_directory(directory)
        ]

    assert rows(tmp_path) == rows(finished_rows)


@pytest.mark.parametrize(
    ("accelerator", "kind", "chips", "dollars"),
    [
        ("v5e-16", "v5litepod-16", 16, 16 * 1.2), ("v5litepod-4", "v5litepod-4", 4, 4 * 1.2),
        ("v5p-8", "v5p-8", 4, 4 * 4.2), ("v6e-8", "v6e-8", 8, 8 * 2.7),
        ("v4-8", "v4-8", 4, 4 * 3.22),
    ],
)  # fmt: skip
def test_slices_and_their_prices(accelerator, kind, chips, dollars):
    found = read(accelerator, False, None)
    assert (found.accelerator_type, found.chips) == (kind, chips)
    assert found.dollars_per_hour == pytest.approx(dollars)
    assert read(accelerator, True, None).dollars_per_hour < dollars
    assert read(accelerator, True, 0.5).dollars_per_hour == pytest.approx(0.5 * chips)
