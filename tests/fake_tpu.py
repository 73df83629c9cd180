"""A Cloud TPU service of our own, on 127.0.0.1: queued resources and nodes in a dictionary.

It speaks gRPC with the real messages, so that the real client talks to it.
"""

import collections
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.cloud import tpu_v2
from google.longrunning import operations_pb2

State = tpu_v2.QueuedResourceState.State
_SERVICE = "google.cloud.tpu.v2.Tpu"


class FakeTpu:
    """The service. A test reads what happened and says what goes wrong.

    Attributes:
      resources: queued resources that are there, by path.
      nodes: nodes that are there, by path.
      calls: names of the methods called, in order.
      created: what was asked for, in order.
      looks: how often each resource was looked at since it was asked for.
      failures: by method, the errors (`grpc.StatusCode`, text) of its next calls, in order.
      unheard: methods whose next call does its work and then fails, as by a lost answer.
      path: states that a resource goes through, one a look; the last one stays.
      on_active: called once with the job's text when a resource becomes active.
      on_look: called with a resource's path and its looks at each of them.
      nodes_stay: whether deleting a queued resource leaves its node.
    """

    def __init__(self):
        self.resources: dict[str, tpu_v2.QueuedResource] = {}
        self.nodes: dict[str, tpu_v2.Node] = {}
        self.calls: list[str] = []
        self.created: list[tpu_v2.QueuedResource] = []
        self.looks: collections.Counter[str] = collections.Counter()
        self.failures: dict[str, list[tuple[grpc.StatusCode, str]]] = {}
        self.unheard: list[str] = []
        self.path = [State.WAITING_FOR_RESOURCES, State.PROVISIONING, State.ACTIVE]
        self.on_active: Callable[[str], None] = lambda job: None
        self.on_look: Callable[[str, int], None] = lambda path, looks: None
        self.nodes_stay = False
        self._one_at_a_time = threading.RLock()
        self._server = grpc.server(ThreadPoolExecutor(4))
        own = {
            "CreateQueuedResource": (self._create, tpu_v2.CreateQueuedResourceRequest, None),
            "GetQueuedResource": (
                self._get, tpu_v2.GetQueuedResourceRequest, tpu_v2.QueuedResource
            ),
            "DeleteQueuedResource": (self._delete, tpu_v2.DeleteQueuedResourceRequest, None),
            "GetNode": (self._get_node, tpu_v2.GetNodeRequest, tpu_v2.Node),
            "DeleteNode": (self._delete_node, tpu_v2.DeleteNodeRequest, None),
        }  # fmt: skip
        handlers = {name: self._handler(name, *method) for name, method in own.items()}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, handlers),)
        )
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *exception):
        self._server.stop(0).wait()

    @property
    def empty(self) -> bool:
        """Whether nothing costs money."""
        return not self.resources and not self.nodes

    def put(self, request: dict, state: State = State.ACTIVE) -> None:
        """Has a resource there already."""
        message = tpu_v2.CreateQueuedResourceRequest(request)
        self._add(message, state)

    def preempt(self, state: State = State.SUSPENDED) -> None:
        """Takes every machine away."""
        for resource in self.resources.values():
            resource.state.state = state
        self.nodes.clear()

    def _handler(self, name, method, request_type, response_type):
        def call(request, context):
            with self._one_at_a_time:
                self.calls.append(name)
                if self.failures.get(name):
                    context.abort(*self.failures[name].pop(0))
                answer = method(request, context)
                if name in self.unheard:
                    self.unheard.remove(name)
                    context.abort(grpc.StatusCode.UNAVAILABLE, "done, but unheard of")
                return answer

        serialize = (
            operations_pb2.Operation.SerializeToString
            if response_type is None
            else response_type.serialize
        )
        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=request_type.deserialize, response_serializer=serialize
        )

    def _create(self, request, context):
        path = f"{request.parent}/queuedResources/{request.queued_resource_id}"
        if path in self.resources:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{path} is there")
        self._add(request, self.path[0])
        self.created.append(request.queued_resource)
        return operations_pb2.Operation(name="operation")

    def _add(self, request, state):
        path = f"{request.parent}/queuedResources/{request.queued_resource_id}"
        resource = tpu_v2.QueuedResource.deserialize(
            tpu_v2.QueuedResource.serialize(request.queued_resource)
        )
        resource.name = path
        resource.state = tpu_v2.QueuedResourceState(state=state)
        self.resources[path], self.looks[path] = resource, 0
        if state == State.ACTIVE:
            self._start(resource)

    def _start(self, resource):
        (spec,) = resource.tpu.node_spec
        self.nodes[f"{spec.parent}/nodes/{spec.node_id}"] = tpu_v2.Node(
            state=tpu_v2.Node.State.READY
        )
        self.on_active(spec.node.metadata["lstm-jax"])

    def _get(self, request, context):
        resource = self.resources.get(request.name)
        if resource is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no {request.name}")
        if resource.state.state == State.DELETING:
            del self.resources[request.name]
            return resource
        self.looks[request.name] += 1
        looks = self.looks[request.name]
        if resource.state.state in self.path[:-1]:
            resource.state.state = self.path[min(looks, len(self.path) - 1)]
            if resource.state.state == State.ACTIVE:
                self._start(resource)
        self.on_look(request.name, looks)
        return resource

    def _delete(self, request, context):
        if request.name not in self.resources:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no {request.name}")
        if not request.force:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it has nodes: use force")
        self.resources[request.name].state.state = State.DELETING
        if not self.nodes_stay:
            self.nodes.clear()
        return operations_pb2.Operation(name="operation")

    def _get_node(self, request, context):
        if request.name not in self.nodes:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no {request.name}")
        return self.nodes[request.name]

    def _delete_node(self, request, context):
        if self.nodes.pop(request.name, None) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no {request.name}")
        return operations_pb2.Operation(name="operation")
