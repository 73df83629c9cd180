r"""Runs a sweep on a Cloud TPU slice: asks for it, waits, watches, and always deletes it.

    python -m launch.on_cloud_tpu --dry_run --project=P --zone=us-west4-a --accelerator=v5e-16 \
        --results_dir=gs://BUCKET/gap_sweep -- experiments.gap_sweep --seeds=32

The checkout, as git tracks it, is sent to the bucket; each machine of the slice installs it and
runs `launch.each_host`. A slice that is taken away is asked for again, and goes on where the rows
are. It is deleted on every way out of this command; if the command itself is killed, the machines
delete their slice once the work is done, where their service account may.
"""

import hashlib
import json
import os
import re
import time
from typing import NamedTuple

from experiments.commands import TRUE_OR_FALSE, Number
from launch import accelerators, base, shipping, tpu_service
from launch.accelerators import Slice
from launch.base import Campaign, say
from launch.shipping import Parcel
from launch.tpu_service import ATTRIBUTE, Resource
from launch.tpu_watch import Watch, deleting
from lstm_jax import provenance, storage
from lstm_jax.errors import InputError

FLAGS = base.common_flags(retries=20)
_flag = FLAGS.define
_PROJECT = _flag("project", None, "Google Cloud project that pays")
_ZONE = _flag("zone", None, "where, such as us-west4-a")
_ACCELERATOR = _flag("accelerator", None, "the slice, such as v5e-16")
_RUNTIME = _flag("runtime_version", None, "software of the machines; by generation if not given")
_SPOT = _flag("spot", True, "cheaper, and may be taken away at any time", TRUE_OR_FALSE)
_TOGETHER = _flag("together", False, "runs each cohort over the chips of all hosts", TRUE_OR_FALSE)
_NETWORK = _flag("network", None, "VPC network; the project's default if not given")
_ACCOUNT = _flag("service_account", None, "of the machines; the project's default if not given")
_NAME = _flag("name", None, "of the queued resource; made from the sweep if not given")
_PRICE = _flag(
    "dollars_per_chip_hour",
    None,
    "for the estimates; a list price if not given",
    Number(0, whole=False, most=1000),
)
_POLL = _flag("poll_seconds", 30, "between looks", Number(0, whole=False, above=True, most=3600))

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TEMPLATE = os.path.join(ROOT, "launch", "templates", "startup.sh")
SCHEME = "gs://"
# What a flag may be, and in words.
_NAMES = {
    "project": (
        re.compile(r"[a-z][a-z0-9.:-]{4,100}"),
        "the id of a project, as my-project-123",
    ),
    "zone": (
        re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z0-9]+"),
        "a zone, as us-west4-a",
    ),
    "runtime_version": (
        re.compile(r"[a-z0-9][a-z0-9.-]{0,99}"),
        "a version of the software, as v2-alpha-tpuv6e",
    ),
    "network": (
        re.compile(r"[a-zA-Z0-9/_.-]{1,200}"),
        "a network, as default or projects/my-project/global/networks/mine",
    ),
    "service_account": (
        re.compile(r"[a-zA-Z0-9._-]+@[a-zA-Z0-9.-]+"),
        "an address, as runner@my-project.iam.gserviceaccount.com",
    ),
    "name": (
        re.compile(r"[a-z]([a-z0-9-]{0,60}[a-z0-9])?"),
        "lower-case letters, digits and -, beginning with a letter, at most 62",
    ),
}
# What the machines do by themselves: tries, seconds between them, and seconds after the end in
# which the launcher should have deleted them.
_TRIES, _PAUSE_SECONDS, _LINGER_SECONDS = 3, 30, 900


class Plan(NamedTuple):
    """What is asked for.

    Attributes:
      slice: the chips.
      parcel: the code.
      name: of the queued resource.
      folder: of this launcher's files beside the rows.
      job: what each machine is told, but for the `run` that it belongs to.
    """

    slice: Slice
    parcel: Parcel
    name: str
    folder: str
    job: dict


def check_flags() -> None:
    """Raises InputError for a flag that cannot be used; nothing is started."""
    directory = FLAGS["results_dir"].value
    if not directory.startswith(SCHEME) or not directory.removeprefix(SCHEME).strip("/"):
        raise InputError(
            f"--results_dir={directory}: must be {SCHEME}…, which the machines can reach"
        )
    for name, (pattern, words) in _NAMES.items():
        value = FLAGS[name].value
        if value and not pattern.fullmatch(value):
            raise InputError(f"--{name}={value:.100}: must be {words}")
    for name in ("project", "zone"):
        if not FLAGS[name].value and FLAGS["dry_run"].value:
            FLAGS[name].value = f"({name})"  # a plan can do without
    for name in ("project", "zone", "accelerator"):
        if not FLAGS[name].value:
            raise InputError(f"--{name}: missing; {FLAGS[name].help}")
    accelerators.read(_ACCELERATOR.value, _SPOT.value, _PRICE.value)


def make_plan(campaign: Campaign) -> Plan:
    """Everything that is asked for; nothing is asked for yet."""
    job = campaign.job
    parcel = shipping.pack(ROOT, job.arguments)
    asked = accelerators.read(_ACCELERATOR.value, _SPOT.value, _PRICE.value)
    identity = json.dumps([job.results_dir, job.experiment, job.arguments, _TOGETHER.value])
    name = _NAME.value or f"lstm-jax-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    folder = f"{job.results_dir.rstrip('/')}/.launch"
    before = ["-m", "launch.each_host", f"--results_dir={job.results_dir}"]
    before += ["--together"] if _TOGETHER.value else []
    before += [f"--compile_cache={job.compile_cache}"] if "://" in job.compile_cache else []
    hours = FLAGS["max_hours"].value
    told = {
        "code": f"{folder}/code-{parcel.sha256}.tar.gz",
        "sha256": parcel.sha256,
        "commit": provenance.environment().get(provenance.VARIABLE, ""),
        "before": before,
        "behind": [job.experiment, *parcel.arguments],
        "name": name,
        "project": _PROJECT.value,
        "zone": _ZONE.value,
        "tries": _TRIES,
        "pause": _PAUSE_SECONDS,
        "linger": _LINGER_SECONDS,
        "until": int(time.time() + 3600 * hours) if hours else 0,  # seconds since 1970
    }
    return Plan(asked, parcel, name, folder, told)


def request(plan: Plan, job: dict, text: str) -> dict:
    """Fields of the CreateQueuedResourceRequest.

    Args:
      plan: what is asked for.
      job: what the machines are told.
      text: that they run when they start.
    """
    parent = f"projects/{_PROJECT.value}/locations/{_ZONE.value}"
    account = {"scope": ["https://www.googleapis.com/auth/cloud-platform"]}
    if _ACCOUNT.value:
        account["email"] = _ACCOUNT.value
    network = {"enable_external_ips": True}
    if _NETWORK.value:
        network["network"] = _NETWORK.value
    node = {
        "accelerator_type": plan.slice.accelerator_type,
        "runtime_version": _RUNTIME.value or plan.slice.runtime,
        "network_config": network,
        "service_account": account,
        "labels": {"made-by": "lstm-jax"},
        "metadata": {"startup-script": text, ATTRIBUTE: json.dumps(job)},
    }
    resource = {"tpu": {"node_spec": [{"parent": parent, "node_id": plan.name, "node": node}]}}
    resource |= {"spot": {}} if _SPOT.value else {"guaranteed": {}}
    return {"parent": parent, "queued_resource_id": plan.name, "queued_resource": resource}


def script() -> str:
    """What machines run when they start."""
    with open(TEMPLATE, encoding="utf-8") as file:
        return file.read()


def describe(plan: Plan) -> str:
    """The whole plan, for a person."""
    path = f"projects/{_PROJECT.value}/locations/{_ZONE.value}/queuedResources/{plan.name}"
    size = len(plan.parcel.data) / 2**10
    job = plan.job | {"run": f"{plan.folder}/{plan.name}-(random)"}
    asked = json.dumps(request(plan, job, "(below)"), indent=2, ensure_ascii=False)
    return "\n".join(
        [
            f"put {plan.job['code']}: {plan.parcel.files} files, {size:.0f} KiB",
            f"google.cloud.tpu.v2.Tpu.CreateQueuedResource\n{asked}",
            f"google.cloud.tpu.v2.Tpu.GetQueuedResource, every {_POLL.value:g} s\n"
            + json.dumps({"name": path}, indent=2),
            "google.cloud.tpu.v2.Tpu.DeleteQueuedResource, at the end and before asking again\n"
            + json.dumps({"name": path, "force": True}, indent=2),
            f"start-up script of each machine:\n{script()}",
        ]
    )


def estimate(plan: Plan) -> str:
    """The cost, before."""
    rate = plan.slice.dollars_per_hour
    most = FLAGS["max_hours"].value
    text = f"{plan.slice.accelerator_type}: about ${rate:.2f} an hour ({plan.slice.price})"
    return text + (f"; at most ${rate * most:.2f} for --max_hours={most:g}" if most else "")


def launch(campaign: Campaign) -> int:
    """Runs everything that is left."""
    plan = make_plan(campaign)
    if plan.parcel.left_out:
        say(f"not tracked by git, so not sent: {', '.join(plan.parcel.left_out[:10])}")
    if campaign.dry_run:
        bounded = "" if FLAGS["max_hours"].value else "; without --max_hours nothing bounds it"
        say(f"{estimate(plan)}{bounded}\n{describe(plan)}\n{estimate(plan)}{bounded}")
        return 0
    if not campaign.left:
        return campaign.summary()
    resource = Resource(tpu_service.connect(), _PROJECT.value, _ZONE.value, plan.name)
    say(estimate(plan))
    with campaign:
        if not storage.is_remote(plan.folder):
            os.makedirs(plan.folder, exist_ok=True)
        storage.write(plan.job["code"], plan.parcel.data)
        watch = Watch(
            campaign,
            resource,
            plan.job,
            lambda job: request(plan, job, script()),
            left=lambda: bool(Campaign(campaign.job, campaign.work, FLAGS).left),
            retries=FLAGS["retries"].value,
            poll_seconds=_POLL.value,
        )
        with deleting(watch):
            watch.run()
        hours = watch.active_seconds / 3600
        say(
            f"{plan.name}: deleted; it was active for {hours:.2f} hours: "
            f"about ${hours * plan.slice.dollars_per_hour:.2f} ({plan.slice.price})"
        )
    status = campaign.summary()
    if watch.failure:
        say(f"failed: {watch.failure}")
    return 1 if watch.failure else status


if __name__ == "__main__":
    base.run(launch, FLAGS, __doc__, check_flags)
