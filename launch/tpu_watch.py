"""Watches a sweep on a queued resource: asks again when it is lost, and deletes it in the end."""

import contextlib
import json
import secrets
import signal
import time
from collections.abc import Callable, Iterator

from launch.base import Campaign, say
from launch.tpu_service import ACTIVE, ON_THE_WAY, Found, RefusedError, Resource, tell
from lstm_jax import storage
from lstm_jax.errors import InputError

_MOST_BYTES = 2**20
_UNANSWERED = 40  # looks in a row, before the launcher gives up
_UNSEEN = 3  # looks that may miss what was just asked for or written
SILENT_SECONDS = 45 * 60  # of an active slice whose machines say nothing at all


class Watch:
    """A sweep on a slice: what is there, what was lost, and for how long it cost money.

    Attributes:
      active_seconds: that the slice has cost money.
      failure: why the sweep came to no end here; empty if it did, or was told to stop.
    """

    def __init__(
        self,
        campaign: Campaign,
        resource: Resource,
        job: dict,
        request: Callable[[dict], dict],
        *,
        left: Callable[[], bool],
        retries: int,
        poll_seconds: float,
    ):
        """Nothing is asked for yet.

        Args:
          campaign: asked whether to stop.
          resource: the slice.
          job: what its machines are told, but for `run`, the folder of what they say.
          request: makes the fields of a CreateQueuedResourceRequest of a job.
          left: whether rows are missing.
          retries: how often a lost slice is asked for again.
          poll_seconds: between looks.
        """
        self._campaign, self._resource, self._job = campaign, resource, job
        self._request, self._rows_left = request, left
        self._retries, self._poll_seconds = retries, poll_seconds
        self._run: str | None = None  # of the slice that is ours now
        self._ours = False  # whether one of ours may be there
        self._said = ""
        self._lost = self._unseen = self._unanswered = self._rows_unseen = 0
        self._active_since: float | None = None
        self._first_active = 0.0
        self._heard = False
        self.active_seconds = 0.0
        self.failure = ""

    def run(self) -> None:
        """Returns when all is done, was told to stop, or has failed (`failure`).

        Raises:
          InputError: there is a queued resource of this name that is not ours.
          OSError: the service refuses, or has not answered for long.
        """
        while not self._campaign.stop():
            try:
                if self._step():
                    return
                self._unanswered = 0
            except RefusedError:
                raise
            except OSError as error:  # of the service or the bucket
                self._unanswered += 1
                if self._unanswered > _UNANSWERED:
                    raise
                self._say(f"{error}; will look again")
            self._pause(self._poll_seconds)

    def delete(self) -> None:
        """Deletes the slice for certain; one that is not ours stays.

        Raises:
          OSError: it cannot be deleted, or there is no saying whether one of ours is there.
        """
        if not self._ours:  # nor asked for: but a launcher that was killed may have
            try:
                found = self._resource.look()
            except RefusedError:  # who may not look has not asked for one either
                return
            except OSError as error:
                raise OSError(
                    f"{self._resource.name}: MAY BE LEFT RUNNING, if an earlier launcher of this "
                    f"sweep asked for it ({error}); run: {self._resource.how_to_delete}"
                ) from error
            if found is None or not self._same_sweep(found):
                return
        self._resource.delete(min(self._poll_seconds, 10))
        self._count(False)

    def _step(self) -> bool:
        """One look; whether there is no more to do."""
        found = self._resource.look()
        self._count(found is not None and found.state == ACTIVE)
        if found is None:
            return self._not_there()
        self._unseen = 0
        if self._run is None:
            self._meet(found)
            return False
        self._say(found.state)
        if found.state in (*ON_THE_WAY, ACTIVE):
            return self._ended(found)
        if found.refused:
            raise RefusedError(f"{found.state}: {found.reason}")
        return self._again(f"{found.state} {found.reason}".strip())

    def _not_there(self) -> bool:
        if self._run is None:
            job = self._job | {"run": self._new_run()}
            self._ours = True
            if self._resource.create(self._request(job)):
                self._run, self._heard, self._first_active = job["run"], False, 0.0
                self._say("asked for")
            return False
        self._unseen += 1
        return self._unseen > _UNSEEN and self._again("gone")

    def _new_run(self) -> str:
        folder = self._job["code"].rpartition("/")[0]
        return f"{folder}/{self._resource.name}-{secrets.token_hex(4)}"

    def _same_sweep(self, found: Found) -> bool:
        try:
            there = json.loads(found.job or "")
            return all(there[name] == self._job[name] for name in ("before", "behind"))
        except (ValueError, TypeError, KeyError):
            return False

    def _meet(self, found: Found) -> None:
        """One of this name is there already: of a launcher that was killed, or of somebody else."""
        if not self._same_sweep(found):
            self._ours = False
            raise InputError(
                f"--name={self._resource.name}: there is one that runs something else; "
                "give another name, or delete it"
            )
        self._ours = True
        there = json.loads(found.job)
        same = all(there.get(name) == value for name, value in self._job.items() if name != "until")
        if same and found.state in (*ON_THE_WAY, ACTIVE):
            self._say("is there already and runs this sweep: watching it")
            self._run = there["run"]
            return
        self._say("is there already, lost or with other code: deleting it")
        self._resource.delete(self._poll_seconds, self._pause)

    def _again(self, reason: str) -> bool:
        """Lost: deletes what is left of it, so that the next look asks for it anew."""
        if not self._rows_left():
            return True
        self._lost += 1
        if self._lost > self._retries:
            times = "once" if self._lost == 1 else f"{self._lost} times"
            self.failure = f"{self._resource.name}: lost {times}, at last: {reason}"
            return True
        self._say(f"lost: {reason}; asking for it again, {self._lost} of {self._retries} times")
        self._resource.delete(self._poll_seconds, self._pause)
        self._count(False)
        self._run, self._unseen = None, 0
        return False

    def _ended(self, found: Found) -> bool:
        """Whether the machines have said that they are done, or have failed, or say nothing."""
        words = {name: name.rpartition(".")[2] for name in storage.names(self._run, "")}
        failed = [name for name, word in words.items() if word == "failed"]
        done = [name for name, word in words.items() if word == "done"]
        if failed:
            self.failure = f"process {failed[0].partition('.')[0]}: {self._last_words(failed[0])}"
            return True
        if done and not self._rows_left():
            return True
        if done:
            self._rows_unseen += 1
            if self._rows_unseen > _UNSEEN:
                self.failure = "the machines are done, but rows are missing: is this the same code?"
            return bool(self.failure)
        self._heard = self._heard or bool(words)
        if found.state == ACTIVE and not self._heard:
            self._first_active = self._first_active or time.monotonic()
            if time.monotonic() - self._first_active > SILENT_SECONDS:
                self.failure = (
                    f"the machines have said nothing for {SILENT_SECONDS // 60} minutes: may their "
                    "service account read and write the bucket?"
                )
        return bool(self.failure) or "stopped" in words.values()

    def _last_words(self, name: str) -> str:
        said = storage.read(f"{self._run}/{name}", _MOST_BYTES)
        last = said.data.decode(errors="replace").strip()[-300:] if said else ""
        return f"{last} ({self._run}/{name.rpartition('.')[0]}.log)"

    def _count(self, active: bool) -> None:
        now = time.monotonic()
        if self._active_since is not None:
            self.active_seconds += now - self._active_since
        self._active_since = now if active else None

    def _say(self, line: str) -> None:
        if line != self._said:
            say(f"{time.strftime('%H:%M:%S')} {self._resource.name}: {line}")
        self._said = line

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._campaign.stop():
            time.sleep(min(0.2, max(0.0, until - time.monotonic())))


@contextlib.contextmanager
def deleting(watch: Watch) -> Iterator[None]:
    """Whatever ends what runs inside, the slice is deleted. The first Ctrl-C, SIGTERM or SIGHUP is
    the campaign's, to stop; later ones change nothing, for deleting must come to its end."""
    first = signal.getsignal(signal.SIGTERM)
    asked = False

    def handle(number, frame):
        nonlocal asked
        if not asked:
            asked = True
            with contextlib.suppress(OSError):  # the terminal may be closed
                first(number, frame)
        tell("stopping: the TPU is being deleted, wait for it")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        try:
            watch.delete()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
