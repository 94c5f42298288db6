"""Networks: what there is, how they come and go, and who is on them."""

from sampan.api.request import Request
from sampan.api.response import Response, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.base.errors import InvalidParameter
from sampan.wire.answers import PrunedNetworks
from sampan.wire.networks import ConnectContainer, CreateNetwork, DisconnectContainer

routes = Routes()
_IPV4_OPTION = (1, 48)  # EnableIPv4 came with this version


@routes.get("/networks/")
@routes.get("/networks")
def list_networks(request: Request, services: Services) -> Response:
    return json(services.networks.list_networks(request.filters()))


@routes.get("/networks/{name}")
def inspect(request: Request, services: Services) -> Response:
    return json(services.networks.inspect(request.path["name"], scope=request.query.text("scope")))


@routes.post("/networks/create")
async def create(request: Request, services: Services) -> Response:
    body = await request.document(CreateNetwork)
    if request.version < _IPV4_OPTION:
        body.enable_ipv4 = None
    return json(await services.networks.create_network(body), 201)


@routes.delete("/networks/{name}")
async def remove(request: Request, services: Services) -> Response:
    await services.containers.release_ended()  # those that have ended are on no network
    await services.networks.remove_network(request.path["name"])
    return Response(204)


@routes.post("/networks/{name}/connect")
async def connect(request: Request, services: Services) -> Response:
    body = await request.document(ConnectContainer)
    if not body.container:
        raise InvalidParameter("invalid container: name or ID is empty")
    await services.containers.connect(body.container, request.path["name"], body.endpoint_config)
    return Response(200)


@routes.post("/networks/{name}/disconnect")
async def disconnect(request: Request, services: Services) -> Response:
    body = await request.document(DisconnectContainer)
    await services.containers.disconnect(body.container, request.path["name"], force=body.force)
    return Response(200)


@routes.post("/networks/prune")
async def prune(request: Request, services: Services) -> Response:
    await services.containers.release_ended()
    return json(PrunedNetworks(await services.networks.prune(request.filters()) or None))


@routes.get("/sampan/networks/explain")
async def explain(request: Request, services: Services) -> Response:
    query = request.query
    return json(await services.network_insight.explain(query.text("subject"), query.text("type")))


@routes.get("/sampan/networks/trace")
async def trace(request: Request, services: Services) -> Response:
    query = request.query
    found = await services.network_insight.trace(
        query.text("from"), query.text("name"), query.text("type", "A")
    )
    return json(found)
