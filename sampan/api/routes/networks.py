"""Networks: what there is."""

from sampan.api.request import Request
from sampan.api.response import Response, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.wire.answers import PrunedNetworks

routes = Routes()


@routes.get("/networks/")
@routes.get("/networks")
def list_networks(request: Request, services: Services) -> Response:
    return json(services.networks.list_networks(request.filters()))


@routes.get("/networks/{name}")
def inspect(request: Request, services: Services) -> Response:
    return json(services.networks.inspect(request.path["name"]))


@routes.post("/networks/prune")
def prune(request: Request, services: Services) -> Response:
    return json(PrunedNetworks())  # the predefined networks are never pruned, and there are no others
