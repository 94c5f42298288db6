"""Extra processes in running containers."""

from sampan.api.request import Request
from sampan.api.response import Answer, Response, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.api.upgrade import hijack
from sampan.wire.answers import CreatedExec
from sampan.wire.containers import ExecConfig, StartExec

routes = Routes()


@routes.post("/containers/{name}/exec")
async def create(request: Request, services: Services) -> Response:
    body = await request.document(ExecConfig)
    if request.version < (1, 42):
        body.console_size = None
    return json(CreatedExec(await services.containers.exec_create(request.path["name"], body)), 201)


@routes.post("/exec/{name}/start")
async def start(request: Request, services: Services) -> Answer:
    body = await request.document(StartExec)
    if request.version < (1, 42) or not body.tty:
        body.console_size = None
    attachment = await services.containers.exec_start(request.path["name"], body)
    if attachment is None:
        return Response(200)
    return hijack(request, attachment.run, tty=attachment.tty)


@routes.post("/exec/{name}/resize")
async def resize(request: Request, services: Services) -> Response:
    rows, cols = request.query.terminal_size("h", "height"), request.query.terminal_size("w", "width")
    await services.containers.exec_resize(request.path["name"], rows, cols)
    return Response(200)


@routes.get("/exec/{name}/json")
def inspect(request: Request, services: Services) -> Response:
    return json(services.containers.exec_inspect(request.path["name"]))
