"""The rest of the Engine API's surface: paths that are known, and why they answer with an error.

What belongs to a swarm gets Docker's own words for a node that is in none.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from sampan.api.request import Request
from sampan.api.response import Answer, json
from sampan.api.router import Handler, Routes
from sampan.api.services import Services
from sampan.base.errors import EngineError, NotImplementedHere, Unavailable
from sampan.networks.errors import NoSwarmManager
from sampan.wire.answers import PrunedBuildCache

routes = Routes()

_NOT_IN_SWARM: Final = "This node is not part of a swarm"
_SUBJECTS: Final = {
    "Checkpoints are": [
        "GET /containers/{name}/checkpoints",
        "POST /containers/{name}/checkpoints",
        "DELETE /containers/{name}/checkpoints/{checkpoint}",
    ],
    "Building images is": ["POST /build", "POST /build/cancel", "POST /session", "POST /grpc"],
    "Listing attestations is": ["GET /images/{name...}/attestations"],
    "Swarm mode is": ["POST /swarm/init", "POST /swarm/join"],
    "Managing plugins is": [
        "GET /plugins/privileges",
        "GET /plugins/{name...}/json",
        "DELETE /plugins/{name...}",
        "POST /plugins/pull",
        "POST /plugins/create",
        "POST /plugins/{name...}/enable",
        "POST /plugins/{name...}/disable",
        "POST /plugins/{name...}/upgrade",
        "POST /plugins/{name...}/push",
        "POST /plugins/{name...}/set",
    ],
}
_MANAGER_ONLY: Final = [
    "GET /swarm",
    "POST /swarm/update",
    "GET /swarm/unlockkey",
    "POST /swarm/unlock",
    "GET /nodes",
    "GET /nodes/{id}",
    "DELETE /nodes/{id}",
    "POST /nodes/{id}/update",
    "GET /services",
    "POST /services/create",
    "GET /services/{id}",
    "DELETE /services/{id}",
    "POST /services/{id}/update",
    "GET /services/{id}/logs",
    "GET /tasks",
    "GET /tasks/{id}",
    "GET /tasks/{id}/logs",
    "GET /secrets",
    "POST /secrets/create",
    "GET /secrets/{id}",
    "DELETE /secrets/{id}",
    "POST /secrets/{id}/update",
    "GET /configs",
    "POST /configs/create",
    "GET /configs/{id}",
    "DELETE /configs/{id}",
    "POST /configs/{id}/update",
    "PUT /volumes/{name}",
]


@routes.get("/plugins")
def list_plugins(request: Request, services: Services) -> Answer:
    return json([])


@routes.post("/build/prune")
def prune_build_cache(request: Request, services: Services) -> Answer:
    return json(PrunedBuildCache())


@routes.post("/swarm/leave")
def leave_swarm(request: Request, services: Services) -> Answer:
    raise Unavailable(_NOT_IN_SWARM)


def _refuse(error: Callable[[], EngineError]) -> Handler:
    def refuse(request: Request, services: Services) -> Answer:
        raise error()

    return refuse


for _subject, _paths in _SUBJECTS.items():
    for _method, _path in (line.split(" ") for line in _paths):
        _sentence = f"{_subject} not supported by this version of sampan"
        routes.add(_method, _path, _refuse(partial(NotImplementedHere, _sentence)))
for _method, _path in (line.split(" ") for line in _MANAGER_ONLY):
    routes.add(_method, _path, _refuse(NoSwarmManager))
