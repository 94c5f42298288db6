"""What can go wrong with containers, in Docker's words: clients match on these texts."""

from sampan.base.errors import Conflict, InvalidParameter, NotFound


class ContainerNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"No such container: {name}")


class PathNotFound(NotFound):
    def __init__(self, path: str, container: str) -> None:
        super().__init__(f"Could not find the file {path} in container {container}")


class ExecNotFound(NotFound):
    def __init__(self, exec_id: str) -> None:
        super().__init__(f"No such exec instance: {exec_id}")


class AmbiguousId(InvalidParameter):
    def __init__(self, prefix: str) -> None:
        super().__init__(f"Multiple IDs found with provided prefix: {prefix}")


class NameInUse(Conflict):
    def __init__(self, name: str, owner: str) -> None:
        super().__init__(
            f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )


class NotRunning(Conflict):
    def __init__(self, container: str) -> None:
        super().__init__(f"container {container} is not running")


class LayersLost(Conflict):
    def __init__(self, image: str) -> None:
        super().__init__(f"the layers of image {image} are not here: pull or load it again")


class IsPaused(Conflict):
    def __init__(self, container: str, purpose: str) -> None:
        super().__init__(f"Container {container} is paused, unpause the container before {purpose}")


class IsRestarting(Conflict):
    def __init__(self, container: str) -> None:
        super().__init__(f"container {container} is restarting, wait until the container is running")
