"""Extra processes in running containers."""

from sampan.api.hijack import Stream
from sampan.api.request import Request
from sampan.api.response import Answer, Response, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.api.upgrade import hijack
from sampan.runtime.task import RuntimeFailed
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
    try:
        attachment = await services.containers.exec_start(request.path["name"], body)
    except RuntimeFailed as error:
        if body.detach:
            raise
        return hijack(request, _Failed(error, tty=body.tty).run, tty=body.tty)
    if attachment is not None:
        return hijack(request, attachment.run, tty=attachment.tty)
    return Response(200) if body.detach else hijack(request, _say_nothing, tty=body.tty)


class _Failed:
    """A process that could not be started: clients look for the reason in its output, as Docker gives it."""

    def __init__(self, error: RuntimeFailed, *, tty: bool) -> None:
        text = f"{error}\r\n".encode()
        self._text = text if tty else b"\1\0\0\0" + len(text).to_bytes(4, "big") + text

    async def run(self, stream: Stream) -> None:
        await stream.write(self._text)


async def _say_nothing(stream: Stream) -> None:
    """Serve a process of which nothing is attached."""


@routes.post("/exec/{name}/resize")
async def resize(request: Request, services: Services) -> Response:
    rows, cols = request.query.terminal_size("h", "height"), request.query.terminal_size("w", "width")
    await services.containers.exec_resize(request.path["name"], rows, cols)
    return Response(200)


@routes.get("/exec/{name}/json")
def inspect(request: Request, services: Services) -> Response:
    return json(services.containers.exec_inspect(request.path["name"]))
