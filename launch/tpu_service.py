"""One queued resource of Cloud TPU: asked for, looked at, and deleted for certain.

Needs the extra `tpu`. With the environment variable LSTM_JAX_TPU_ENDPOINT (HOST:PORT) it talks to
an emulator there, without credentials.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lstm_jax.errors import InputError, MissingExtraError, first_line

ENDPOINT = "LSTM_JAX_TPU_ENDPOINT"
ATTRIBUTE = "lstm-jax"  # of the machines' metadata: what they are to run
ON_THE_WAY = ("CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING")
ACTIVE = "ACTIVE"
# A queued resource may be called active while its machines are gone.
_NODE_WORKS = ("CREATING", "READY", "RESTARTING", "REIMAGING", "REPAIRING", "STARTING")
_CALL_SECONDS = 60
_DELETE_TRIES = 60
# Of google.rpc.Code: asking again would be refused again.
_HOPELESS = {3: "INVALID_ARGUMENT", 5: "NOT_FOUND", 7: "PERMISSION_DENIED", 16: "UNAUTHENTICATED"}
_EXHAUSTED = 8


class RefusedError(OSError):
    """The service will not do what was asked of it, however often."""


class UnansweredError(OSError):
    """The service did not answer this time."""


class Found(NamedTuple):
    """A queued resource as it is.

    Attributes:
      state: as the API names it.
      reason: why it failed, if the service says so.
      refused: whether asking again would be refused again.
      job: the attribute `ATTRIBUTE` of its machines; None if it is not one of ours.
    """

    state: str
    reason: str
    refused: bool
    job: str | None


def tell(line: str) -> None:
    """A line for a person, who may have closed the terminal."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def connect():
    """The client.

    Raises:
      InputError: no credentials.
      MissingExtraError: the package is not installed.
    """
    try:
        import grpc
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import tpu_v2
        from google.cloud.tpu_v2.services.tpu.transports import TpuGrpcTransport
    except ImportError as error:
        raise MissingExtraError("Cloud TPU", "tpu") from error
    if endpoint := os.environ.get(ENDPOINT):
        channel = grpc.insecure_channel(endpoint)
        return tpu_v2.TpuClient(transport=TpuGrpcTransport(channel=channel))
    try:
        return tpu_v2.TpuClient()
    except GoogleAuthError as error:
        raise InputError(
            f"Cloud TPU: no credentials ({first_line(error)[:160]}); "
            "run: gcloud auth application-default login"
        ) from error


@contextlib.contextmanager
def _told(doing: str) -> Iterator[None]:
    """Errors of the service as `RefusedError` or `UnansweredError`, one line each."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError, TransportError

    passing = (exceptions.ServerError, exceptions.RetryError, exceptions.Aborted, TransportError)
    try:
        yield
    except passing as error:
        raise UnansweredError(f"{doing}: {first_line(error)[:300]}") from error
    except (exceptions.GoogleAPIError, GoogleAuthError) as error:
        raise RefusedError(f"{doing}: {first_line(error)[:300]}") from error


class Resource:
    """A queued resource by its name, whether it is there or not."""

    def __init__(self, client, project: str, zone: str, name: str):
        self.project, self.zone, self.name = project, zone, name
        self.parent = f"projects/{project}/locations/{zone}"
        self._client = client
        self._path = f"{self.parent}/queuedResources/{name}"
        self._node_path = f"{self.parent}/nodes/{name}"
        self._unsure = False  # whether it was asked for without an answer

    @property
    def how_to_delete(self) -> str:
        """The command for a person to delete it by."""
        return (
            f"gcloud compute tpus queued-resources delete {self.name} --force "
            f"--project={self.project} --zone={self.zone}"
        )

    def create(self, request: dict) -> bool:
        """Asks for it; returns False if one of this name is there.

        Args:
          request: fields of a CreateQueuedResourceRequest.

        Raises:
          RefusedError: quota, permission, or a request that cannot be.
          UnansweredError: it may or may not have been created.
        """
        from google.api_core import exceptions
        from google.cloud import tpu_v2

        message = tpu_v2.CreateQueuedResourceRequest(request)
        self._unsure = True
        try:
            with _told("create"):
                self._client.create_queued_resource(
                    request=message, timeout=_CALL_SECONDS, retry=None
                )
        except RefusedError as error:
            self._unsure = False
            if isinstance(error.__cause__, exceptions.AlreadyExists):
                return False
            raise
        self._unsure = False
        return True

    def look(self) -> Found | None:
        """How it is; None if it is not there.

        Raises:
          RefusedError: wrong credentials, or no such project.
          UnansweredError: not told this time.
        """
        from google.api_core import exceptions

        with _told("get"):
            try:
                resource = self._client.get_queued_resource(
                    name=self._path, timeout=_CALL_SECONDS, retry=None
                )
            except exceptions.NotFound:
                return None
            except exceptions.TooManyRequests as error:
                raise UnansweredError(f"get: {first_line(error)[:300]}") from error
        error, state = resource.state.failed_data.error, resource.state.state.name
        if state == ACTIVE and (node := self._node_state()) not in _NODE_WORKS:
            state = f"ACTIVE, but its node is {node}"
        nodes = [spec.node for spec in resource.tpu.node_spec]
        quota = error.code == _EXHAUSTED and "quota" in error.message.lower()
        return Found(
            state=state,
            reason=" ".join(error.message.split())[:300],
            refused=quota or error.code in _HOPELESS,
            job=next((node.metadata.get(ATTRIBUTE) for node in nodes), None),
        )

    def delete(self, pause_seconds: float, pause: Callable[[float], None] = time.sleep) -> None:
        """Deletes it and its node, and returns when both are gone.

        Args:
          pause_seconds: between tries.
          pause: waits.

        Raises:
          OSError: it is still there after many tries; the message says how to delete it by hand.
        """
        said, gone = "", 0
        for _ in range(_DELETE_TRIES):
            try:
                gone = gone + 1 if self._gone() else 0
                if gone > (3 if self._unsure else 0):  # it may come late
                    return
            except Exception as error:  # whatever it is: what costs money must go
                if str(error) != said:
                    tell(f"{self.name}: not deleted yet: {first_line(error)[:300]}")
                said = str(error)
            pause(pause_seconds)
        raise OSError(f"{self.name}: MAY BE LEFT RUNNING ({said}); run: {self.how_to_delete}")

    def _gone(self) -> bool:
        """Asks for its deletion unless that is under way; whether nothing is left of it."""
        from google.api_core import exceptions
        from google.cloud import tpu_v2

        found = self.look()
        if found is not None:
            if found.state != "DELETING":
                request = tpu_v2.DeleteQueuedResourceRequest(name=self._path, force=True)
                with _told("delete"), contextlib.suppress(exceptions.NotFound):
                    self._client.delete_queued_resource(
                        request=request, timeout=_CALL_SECONDS, retry=None
                    )
            return False
        state = self._node_state()
        if state not in ("missing", "DELETING"):
            with _told("delete node"), contextlib.suppress(exceptions.NotFound):
                self._client.delete_node(name=self._node_path, timeout=_CALL_SECONDS, retry=None)
        return state == "missing"

    def _node_state(self) -> str:
        from google.api_core import exceptions

        with _told("get node"):
            try:
                node = self._client.get_node(
                    name=self._node_path, timeout=_CALL_SECONDS, retry=None
                )
            except exceptions.NotFound:
                return "missing"
        return node.state.name
