"""The Docker Engine API as methods: the public ``sampan.Client``, and what the command line is built on.

    with sampan.Client() as client:
        print(client.run("busybox", ["echo", "hello"]).decode())
        web = client.create("busybox", ["httpd", "-f"], name="web", ports={"80/tcp": "8080"})
        client.start(web)

Documents are the API's own JSON, as dicts. A method that fails raises one of ``sampan.base.errors`` (with the
daemon's words, see ``client.errors``). ``begin_`` methods send a request and return before it is answered, so
that several can be under way. One client belongs to one thread.
"""

import posix

from sampan.base import jsonlite
from sampan.client.errors import ConnectionFailed, StreamFailed, daemon_error
from sampan.client.session import (
    Exchange,
    Session,
    container_path,
    document,
    image_path,
    quote,
    render_filters,
    rows,
    version_key,
    volume_path,
)
from sampan.client.transport import Download

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from sampan.client.body import Ports
    from sampan.client.session import Filters, Json, Query


class Client(Session):
    """A client of one daemon; see ``Session`` for how it is made."""

    # --- the engine

    def version(self) -> "Json":
        """Return the versions of the daemon and its parts."""
        return document(self.begin("GET", "/version").result())

    def info(self) -> "Json":
        """Return the daemon-wide facts."""
        return document(self.begin("GET", "/info").result())

    def disk_usage(self) -> "Json":
        """Return what images, containers, volumes and build cache take, in bytes."""
        return document(self.begin("GET", "/system/df").result())

    def disk_account(self) -> "Json":
        """Return who has which bytes below the engine's data root (see ``wire.disk.DiskAccount``)."""
        return document(self.begin("GET", "/sampan/system/df").result())

    def check(self, *, repair: bool = False, quick: bool = False) -> "Json":
        """Let the engine hold blobs, snapshots, rows and files against each other; return Findings.

        ``repair`` puts right what can be; ``quick`` does not read the blobs.
        """
        method = "POST" if repair else "GET"
        return document(self.begin(method, "/sampan/system/check", {"quick": quick}).result())

    def plan_prune(self, **filters: "Filters") -> "list[Json]":
        """Return what a prune would take: each of container, network, volume, image with its filters."""
        query: Query = {kind: render_filters(given) or "{}" for kind, given in filters.items()}
        return list(document(self.begin("GET", "/sampan/prune", query).result())["Items"])

    def prune_planned(self, items: "Sequence[Json]") -> "Json":
        """Remove exactly what a plan named; return Removed, Kept and SpaceReclaimed."""
        return document(self.begin("POST", "/sampan/prune", json={"Items": list(items)}).result())

    def events(
        self, *, since: str | None = None, until: str | None = None, filters: "Filters | None" = None
    ) -> "Iterator[Json]":
        """Yield events as they happen, from ``since`` until ``until`` (moments as Docker takes them)."""
        query = {"since": since, "until": until, "filters": render_filters(filters)}
        return self.stream(self.begin("GET", "/events", query))

    # --- containers

    def containers(
        self,
        *,
        all: bool = False,  # noqa: A002  # the API's word
        limit: int | None = None,
        size: bool = False,
        filters: "Filters | None" = None,
    ) -> "list[Json]":
        """List containers: the running ones, or all of them."""
        return rows(self.begin_containers(all=all, limit=limit, size=size, filters=filters).result())

    def begin_containers(
        self,
        *,
        all: bool = False,  # noqa: A002  # the API's word
        limit: int | None = None,
        size: bool = False,
        filters: "Filters | None" = None,
        brief: bool = False,
    ) -> Exchange:
        """Begin to list containers; the result is the list, or None for an empty one.

        ``brief``: the daemon may leave out what the usual table does not show (Docker's does not).
        """
        query = {
            "all": all,
            "limit": limit,
            "size": size,
            "filters": render_filters(filters),
            "brief": brief,
        }
        return self.begin("GET", "/containers/json", query)

    def create(
        self,
        image: str,
        command: "Sequence[str] | None" = None,
        *,
        name: str = "",
        platform: str = "",
        ports: "Ports | None" = None,
        volumes: "Sequence[str]" = (),
        env: "Mapping[str, str] | Sequence[str]" = (),
        labels: "Mapping[str, str] | None" = None,
        config: "Json | None" = None,
        host_config: "Json | None" = None,
    ) -> str:
        """Make a container and return its id.

        ``ports`` maps ``80/tcp`` to a host port or ``address:port`` ("": any), ``volumes`` are binds
        (``/src:/dst:ro``). What else the API has goes into ``config`` and ``host_config`` by its own names.
        """
        from sampan.client.body import container

        body = container(
            image,
            command,
            ports=ports,
            volumes=volumes,
            env=env,
            labels=labels,
            config=config,
            host_config=host_config,
        )
        return str(self.create_from(body, name=name, platform=platform)["Id"])

    def create_from(self, body: "Json", *, name: str = "", platform: str = "") -> "Json":
        """Make a container of a whole request document; return the answer: Id and Warnings."""
        query = {"name": name or None, "platform": platform or None}
        return document(self.begin("POST", "/containers/create", query, json=body).result())

    def run(self, image: str, command: "Sequence[str] | None" = None, **options: "Any") -> bytes:
        """Run a container to its end, remove it and return its standard output.

        Takes the options of ``create``. Raises ``body.CommandFailed`` when the exit code is not 0.
        """
        from sampan.client.body import run_to_end

        return run_to_end(self, image, command, options)

    def start(self, container: str) -> None:
        """Start a container; nothing happens if it runs already."""
        self.begin("POST", container_path(container, "start")).result()

    def stop(self, container: str, *, signal: str = "", timeout: int | None = None) -> None:
        """Stop a container: its stop signal, and after ``timeout`` seconds SIGKILL."""
        self.begin_stop(container, signal=signal, timeout=timeout).result()

    def begin_stop(self, container: str, *, signal: str = "", timeout: int | None = None) -> Exchange:
        query = {"signal": signal or None, "t": timeout}
        return self.begin("POST", container_path(container, "stop"), query)

    def restart(self, container: str, *, signal: str = "", timeout: int | None = None) -> None:
        """Stop a container if it runs, and start it."""
        query = {"signal": signal or None, "t": timeout}
        self.begin("POST", container_path(container, "restart"), query).result()

    def kill(self, container: str, signal: str | int = "") -> None:
        """Send a signal, SIGKILL unless another is named."""
        self.begin_kill(container, signal).result()

    def begin_kill(self, container: str, signal: str | int = "") -> Exchange:
        return self.begin("POST", container_path(container, "kill"), {"signal": signal or None})

    def pause(self, container: str) -> None:
        """Freeze a container's processes."""
        self.begin_pause(container).result()

    def begin_pause(self, container: str) -> Exchange:
        return self.begin("POST", container_path(container, "pause"))

    def unpause(self, container: str) -> None:
        """Let a container's processes run on."""
        self.begin_unpause(container).result()

    def begin_unpause(self, container: str) -> Exchange:
        return self.begin("POST", container_path(container, "unpause"))

    def wait(self, container: str, condition: str = "not-running") -> int:
        """Wait (``not-running``, ``next-exit``, ``removed``) and return the exit code."""
        result = document(self.begin_wait(container, condition).result())
        error = result.get("Error") or {}
        if error.get("Message"):
            raise daemon_error(500, str(error["Message"]))
        return int(result["StatusCode"])

    def begin_wait(self, container: str, condition: str = "") -> Exchange:
        return self.begin("POST", container_path(container, "wait"), {"condition": condition or None})

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        self.begin("POST", container_path(container, "rename"), {"name": name}).result()

    def remove(
        self, container: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        """Remove a container; ``force`` kills it first, ``volumes`` takes its anonymous volumes along."""
        self.begin_remove(container, force=force, volumes=volumes, link=link).result()

    def begin_remove(
        self, container: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> Exchange:
        query = {"v": volumes, "link": link, "force": force}
        return self.begin("DELETE", container_path(container), query)

    def inspect(self, container: str, *, size: bool = False) -> "Json":
        """Return everything about a container."""
        return document(self.begin("GET", container_path(container, "json"), {"size": size}).result())

    def logs(
        self,
        container: str,
        *,
        stdout: bool = True,
        stderr: bool = True,
        follow: bool = False,
        since: str | None = None,
        until: str | None = None,
        tail: str | int | None = None,
        timestamps: bool = False,
        details: bool = False,
    ) -> "Iterator[tuple[int, bytes]]":
        """Yield what a container has written as (1 stdout | 2 stderr, bytes); pieces end anywhere."""
        from sampan.client.frames import MULTIPLEXED, RAW, split

        query: Query = {
            "stdout": stdout,
            "stderr": stderr,
            "follow": follow,
            "since": since,
            "until": until,
            "timestamps": timestamps,
            "details": details,
            "tail": None if tail is None else str(tail),
        }
        response = self.begin("GET", container_path(container, "logs"), query).response()
        kind = response.headers.get("content-type", "")
        if kind not in {MULTIPLEXED, RAW} or version_key(self.api_version) < (1, 42):
            # Before API 1.42 the answer does not tell; only the container does.
            framed = not self.inspect(container)["Config"]["Tty"]
        else:
            framed = kind == MULTIPLEXED
        return split(response.chunks(), multiplexed=framed)

    def begin_attach(
        self,
        container: str,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        logs: bool = False,
        stream: bool = True,
        detach_keys: str = "",
    ) -> Exchange:
        """Ask for a container's streams; ``hijack()`` of what is returned gives them."""
        query = {
            "stream": stream,
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr,
            "logs": logs,
            "detachKeys": detach_keys or None,
        }
        return self.begin("POST", container_path(container, "attach"), query, upgrade=True)

    def resize(self, container: str, rows: int, columns: int) -> None:
        """Set the size of a container's terminal."""
        self.begin("POST", container_path(container, "resize"), {"h": rows, "w": columns}).result()

    def top(self, container: str, ps_args: str = "") -> "Json":
        """Return a container's processes: Titles and Processes."""
        query = {"ps_args": ps_args or None}
        return document(self.begin("GET", container_path(container, "top"), query).result())

    def changes(self, container: str) -> "list[Json]":
        """Return the changed paths: Path, and Kind 0 modified, 1 added, 2 deleted."""
        return rows(self.begin("GET", container_path(container, "changes")).result())

    def export(self, container: str) -> Download:
        """Return a container's file system as a tar archive."""
        return Download(self.begin("GET", container_path(container, "export")).response())

    def stat_path(self, container: str, path: str) -> "Json":
        """Describe a path in a container: name, size, mode (Go's bits), mtime, linkTarget."""
        response = self.begin("HEAD", container_path(container, "archive"), {"path": path}).response()
        response.read()
        return path_stat(response.headers)

    def read_archive(self, container: str, path: str) -> "tuple[Json, Download]":
        """Return what ``stat_path`` does, and a tar of the path and all below it."""
        response = self.begin("GET", container_path(container, "archive"), {"path": path}).response()
        return path_stat(response.headers), Download(response)

    def write_archive(
        self,
        container: str,
        path: str,
        source: "bytes | int | Iterable[bytes]",
        *,
        overwrite: bool = False,
        own: bool = False,
    ) -> None:
        """Put the entries of a tar into a directory of a container.

        ``overwrite``: a directory may be replaced by a file, and the other way round. ``own``: what is put in
        belongs to the container's user.
        """
        query: Query = {"path": path, "noOverwriteDirNonDir": not overwrite, "copyUIDGID": own}
        url = container_path(container, "archive")
        exchange = self.begin("PUT", url, query, body=source, content_type="application/x-tar")
        exchange.response().read()

    def commit(
        self,
        container: str,
        *,
        repository: str = "",
        tag: str = "",
        author: str = "",
        message: str = "",
        changes: "Sequence[str]" = (),
        pause: bool = True,
    ) -> str:
        """Make an image of what a container changed; return its ID. ``changes`` are instructions."""
        query: Query = {
            "container": container,
            "repo": repository or None,
            "tag": tag or None,
            "author": author or None,
            "comment": message or None,
            "changes": list(changes),
            "pause": None if pause else "0",
        }
        return str(document(self.begin("POST", "/commit", query).result())["Id"])

    def begin_stats(self, container: str) -> Exchange:
        """Ask what a container uses at the moment."""
        query: Query = {"stream": "0", "one-shot": True}
        return self.begin("GET", container_path(container, "stats"), query)

    def stats(self, container: str) -> "Iterator[Json]":
        """Yield what a container uses, once a second."""
        return self.stream(self.begin("GET", container_path(container, "stats"), {"stream": True}))

    def update(self, container: str, body: "Json") -> list[str]:
        """Change limits or the restart policy; return warnings."""
        answer = document(self.begin("POST", container_path(container, "update"), json=body).result())
        return [str(warning) for warning in answer.get("Warnings") or ()]

    def prune(self, filters: "Filters | None" = None) -> "Json":
        """Remove stopped containers; return ContainersDeleted and SpaceReclaimed (bytes)."""
        query = {"filters": render_filters(filters)}
        return document(self.begin("POST", "/containers/prune", query).result())

    # --- exec

    def exec(self, container: str, command: "Sequence[str]", **options: "Any") -> tuple[int, bytes]:
        """Run another command in a container; return its exit code and all it wrote.

        ``options`` are fields of the API's exec document, by its names: User, WorkingDir, Env, Tty, …
        """
        from sampan.client.frames import split

        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command), **options}
        identifier = self.exec_create(container, body)
        tty = bool(options.get("Tty"))
        wire = self.begin_exec_start(identifier, {"Detach": False, "Tty": tty}).hijack()
        try:
            output = b"".join(data for _, data in split(iter(wire.recv, b""), multiplexed=not tty))
        finally:
            wire.close()
        return int(self.exec_inspect(identifier)["ExitCode"]), output

    def exec_create(self, container: str, body: "Json") -> str:
        """Prepare a command and return its id."""
        answer = self.begin("POST", container_path(container, "exec"), json=body).result()
        return str(document(answer)["Id"])

    def begin_exec_start(self, identifier: str, body: "Json") -> Exchange:
        """Start a prepared command; ``hijack()`` of what is returned gives its streams."""
        detached = bool(body.get("Detach"))
        return self.begin("POST", f"/exec/{identifier}/start", json=body, upgrade=not detached)

    def exec_resize(self, identifier: str, rows: int, columns: int) -> None:
        """Set the size of a command's terminal."""
        self.begin("POST", f"/exec/{identifier}/resize", {"h": rows, "w": columns}).result()

    def exec_inspect(self, identifier: str) -> "Json":
        """Return the state of a command, ExitCode among it."""
        return document(self.begin("GET", f"/exec/{identifier}/json").result())

    # --- images

    def images(
        self,
        *,
        all: bool = False,  # noqa: A002  # the API's word
        digests: bool = False,
        shared_size: bool = False,
        manifests: bool = False,
        filters: "Filters | None" = None,
    ) -> "list[Json]":
        """List images; ``manifests``: with what there is of them for each platform."""
        query = {
            "manifests": manifests or None,
            "all": all,
            "digests": digests,
            "shared-size": shared_size,
            "filters": render_filters(filters),
        }
        return rows(self.begin("GET", "/images/json", query).result())

    def load(
        self,
        source: "str | int | bytes | Iterable[bytes]",
        *,
        quiet: bool = True,
        platform: "Json | None" = None,
    ) -> "Iterator[Json]":
        """Load an image archive (a path, a descriptor, its bytes) and yield the daemon's messages.

        The generator must be read to its end. Raises StreamFailed when the daemon reports an error in it.
        """
        opened = posix.open(source, posix.O_RDONLY | posix.O_CLOEXEC) if isinstance(source, str) else None
        try:
            query: Query = {"quiet": quiet, "platform": jsonlite.dumps(platform) if platform else None}
            exchange = self.begin(
                "POST",
                "/images/load",
                query,
                body=opened if isinstance(source, str) else source,
                content_type="application/x-tar",
            )
            yield from checked(self.stream(exchange))
        finally:
            if opened is not None:
                posix.close(opened)

    def pull(self, image: str, tag: str = "", *, platform: str = "", auth: str = "") -> "Iterator[Json]":
        """Fetch an image from its registry and yield the daemon's messages; ``auth`` is X-Registry-Auth."""
        query = {"fromImage": image, "tag": tag or None, "platform": platform or None}
        headers = {"X-Registry-Auth": auth} if auth else None
        return self.stream(self.begin("POST", "/images/create", query, headers=headers))

    def push(
        self, image: str, tag: str = "", *, platform: "Json | None" = None, auth: str = ""
    ) -> "Iterator[Json]":
        """Send an image (no tag: all its tags) to its registry and yield the daemon's messages."""
        query = {"tag": tag or None, "platform": jsonlite.dumps(platform) if platform else None}
        headers = {"X-Registry-Auth": auth} if auth else None
        return self.stream(self.begin("POST", image_path(image, "push"), query, headers=headers))

    def login(self, credentials: "Json") -> "Json":
        """Check credentials with the registry they name; return Status and IdentityToken."""
        return document(self.begin("POST", "/auth", json=credentials).result())

    def distribution(self, image: str, *, auth: str = "") -> "Json":
        """Return what an image's name stands for in its registry: Descriptor and Platforms."""
        headers = {"X-Registry-Auth": auth} if auth else None
        path = f"/distribution/{quote(image, '/:@')}/json"
        return document(self.begin("GET", path, headers=headers).result())

    def search(
        self, term: str, *, limit: int = 0, filters: "Filters | None" = None, auth: str = ""
    ) -> "list[Json]":
        """Search a registry (``host/words``, else Docker Hub) for repositories."""
        query: Query = {"term": term, "limit": limit or None, "filters": render_filters(filters)}
        headers = {"X-Registry-Auth": auth} if auth else None
        return rows(self.begin("GET", "/images/search", query, headers=headers).result())

    def import_image(
        self,
        source: "bytes | int | Iterable[bytes] | None",
        *,
        url: str = "",
        repository: str = "",
        tag: str = "",
        message: str = "",
        changes: "Sequence[str]" = (),
        platform: str = "",
    ) -> "Iterator[Json]":
        """Make an image of a tar archive (``source``, or one that the daemon fetches); yield messages."""
        query: Query = {
            "fromSrc": url or "-",
            "repo": repository or None,
            "tag": tag or None,
            "message": message or None,
            "changes": list(changes),
            "platform": platform or None,
        }
        return checked(
            self.stream(
                self.begin("POST", "/images/create", query, body=source, content_type="application/x-tar")
            )
        )

    def save(self, images: "Sequence[str]", *, platform: "Json | None" = None) -> Download:
        """Return an archive of images: an OCI layout, and Docker's format."""
        query: Query = {
            "names": list(images),
            "platform": jsonlite.dumps(platform) if platform else None,
        }
        return Download(self.begin("GET", "/images/get", query).response())

    def prune_images(self, filters: "Filters | None" = None) -> "Json":
        """Remove unused images; return ImagesDeleted and SpaceReclaimed (bytes)."""
        return document(self.begin("POST", "/images/prune", {"filters": render_filters(filters)}).result())

    def prune_build_cache(self, filters: "Filters | None" = None, *, all: bool = False) -> "Json":  # noqa: A002  # the API's word
        """Remove what builds have left; return CachesDeleted and SpaceReclaimed (bytes)."""
        query: Query = {"filters": render_filters(filters), "all": all}
        return document(self.begin("POST", "/build/prune", query).result())

    def bootstrap(self, image: str, *, tag: str = "") -> "Iterator[Json]":
        """Make a base image (``busybox``, ``debian:SUITE``) of the host's packages; yield messages."""
        query = {"image": image, "tag": tag or None}
        return self.stream(self.begin("POST", "/sampan/images/bootstrap", query))

    def inspect_image(self, image: str, *, platform: "Json | None" = None) -> "Json":
        """Return everything about an image."""
        query = {"platform": jsonlite.dumps(platform) if platform else None}
        return document(self.begin("GET", image_path(image, "json"), query).result())

    def history(self, image: str, *, platform: "Json | None" = None) -> "list[Json]":
        """Return the steps that made an image, newest first."""
        query = {"platform": jsonlite.dumps(platform) if platform else None}
        return rows(self.begin("GET", image_path(image, "history"), query).result())

    def tag(self, image: str, repository: str, tag: str = "") -> None:
        """Give an image another name."""
        query = {"repo": repository, "tag": tag or None}
        self.begin("POST", image_path(image, "tag"), query).result()

    def remove_image(
        self, image: str, *, force: bool = False, prune: bool = True, platforms: "Sequence[str]" = ()
    ) -> "list[Json]":
        """Remove a name, and the image with its last name; return Untagged and Deleted entries."""
        query: Query = {"force": force, "noprune": not prune, "platforms": list(platforms) or None}
        return rows(self.begin("DELETE", image_path(image), query).result())

    def add_ports(self, container: str, ports: "Json") -> "Json":
        """Publish more ports of a container that runs or not; return all of them."""
        return self._change_ports(container, "add", ports)

    def remove_ports(self, container: str, ports: "Json") -> "Json":
        """Publish ports of a container no longer; return those that are left."""
        return self._change_ports(container, "remove", ports)

    def _change_ports(self, container: str, change: str, ports: "Json") -> "Json":
        path = f"/sampan{container_path(container, f'ports/{change}')}"
        return document(self.begin("POST", path, json={"Ports": ports}).result())

    # --- networks

    def networks(self, filters: "Filters | None" = None) -> "list[Json]":
        """List networks."""
        return rows(self.begin("GET", "/networks", {"filters": render_filters(filters)}).result())

    def inspect_network(self, network: str, *, verbose: bool = False, scope: str = "") -> "Json":
        """Return everything about a network."""
        query = {"verbose": verbose, "scope": scope or None}
        return document(self.begin("GET", f"/networks/{quote(network)}", query).result())

    def create_network(self, body: "Json") -> "Json":
        """Create a network as the API's document ``body`` says; return Id and Warning."""
        return document(self.begin("POST", "/networks/create", json=body).result())

    def remove_network(self, network: str) -> None:
        """Remove a network."""
        self.begin("DELETE", f"/networks/{quote(network)}").result()

    def connect_network(self, network: str, container: str, settings: "Json | None" = None) -> None:
        """Attach a container to a network; ``settings`` are the API's EndpointSettings."""
        body = {"Container": container, "EndpointConfig": settings or {}}
        self.begin("POST", f"/networks/{quote(network)}/connect", json=body).result()

    def disconnect_network(self, network: str, container: str, *, force: bool = False) -> None:
        """Detach a container from a network; ``force``: even if the container is no more."""
        body = {"Container": container, "Force": force}
        self.begin("POST", f"/networks/{quote(network)}/disconnect", json=body).result()

    def explain_network(self, subject: str, kind: str = "") -> "Json":
        """Explain a container, a network or a published port: what is between it and others, and why."""
        query = {"subject": subject, "type": kind}
        return document(self.begin("GET", "/sampan/networks/explain", query).result())

    def trace_name(self, name: str, container: str, kind: str = "A") -> "Json":
        """Ask for a name as a container would, and tell which record or server answered, and when."""
        query = {"name": name, "from": container, "type": kind}
        return document(self.begin("GET", "/sampan/networks/trace", query).result())

    def prune_networks(self, filters: "Filters | None" = None) -> "Json":
        """Remove the networks that no container is on; return NetworksDeleted."""
        query = {"filters": render_filters(filters)}
        return document(self.begin("POST", "/networks/prune", query).result())

    # --- volumes

    def volumes(self, filters: "Filters | None" = None) -> "Json":
        """List volumes; return Volumes and Warnings."""
        return document(self.begin("GET", "/volumes", {"filters": render_filters(filters)}).result())

    def inspect_volume(self, volume: str) -> "Json":
        """Return everything about a volume."""
        return document(self.begin("GET", volume_path(volume)).result())

    def create_volume(
        self,
        name: str = "",
        *,
        driver: str = "local",
        options: "Mapping[str, str] | None" = None,
        labels: "Mapping[str, str] | None" = None,
    ) -> "Json":
        """Make a volume, an anonymous one without a name, and return it."""
        body = {"Name": name, "Driver": driver, "DriverOpts": options or {}, "Labels": labels or {}}
        return document(self.begin("POST", "/volumes/create", json=body).result())

    def remove_volume(self, volume: str, *, force: bool = False) -> None:
        """Remove a volume with its data; ``force``: even if it is not there."""
        self.begin("DELETE", volume_path(volume), {"force": force}).result()

    def prune_volumes(self, filters: "Filters | None" = None) -> "Json":
        """Remove unused volumes; return VolumesDeleted and SpaceReclaimed."""
        query = {"filters": render_filters(filters)}
        return document(self.begin("POST", "/volumes/prune", query).result())

    def backup_volume(self, volume: str, *, compression: str = "none", pause: bool = False) -> Download:
        """Return a tar of a volume; ``compression``: none, gzip or zstd; ``pause``: see ``clone_volume``."""
        query: Query = {"compress": compression, "pause": pause}
        return Download(self.begin("GET", f"/sampan{volume_path(volume)}/backup", query).response())

    def restore_volume(
        self, volume: str, source: "int | bytes | Iterable[bytes]", *, replace: bool = False
    ) -> "Json":
        """Make a volume of a backup, or put it in the place of its content; return Name, Size, Seconds."""
        path = f"/sampan{volume_path(volume)}/restore"
        exchange = self.begin(
            "POST", path, {"replace": replace}, body=source, content_type="application/x-tar"
        )
        return document(exchange.result())

    def clone_volume(
        self, volume: str, new: str, *, labels: "Mapping[str, str] | None" = None, pause: bool = False
    ) -> "Json":
        """Make the volume ``new`` with the content of another; return Name, Size and Seconds.

        ``pause`` freezes the containers that use it meanwhile.
        """
        body = {"Name": new, "Labels": labels or {}, "Pause": pause}
        return document(self.begin("POST", f"/sampan{volume_path(volume)}/clone", json=body).result())

    def snapshot_volume(
        self, volume: str, new: str = "", *, labels: "Mapping[str, str] | None" = None, pause: bool = False
    ) -> "Json":
        """Keep the content of a volume as the read-only volume ``new``; return Name, Size and Seconds."""
        body = {"Name": new, "Labels": labels or {}, "Pause": pause}
        return document(self.begin("POST", f"/sampan{volume_path(volume)}/snapshot", json=body).result())

    def rename_volume(self, volume: str, new: str) -> None:
        """Give a volume that no container uses another name."""
        self.begin("POST", f"/sampan{volume_path(volume)}/rename", json={"Name": new}).result()

    def volume_usage(self, volume: str) -> "Json":
        """Return what a volume holds: Size, Disk, Files, and the Containers that use it."""
        return document(self.begin("GET", f"/sampan{volume_path(volume)}/usage").result())

    def volume_diff(self, volume: str, other: str = "") -> "list[Json]":
        """Return Path and Kind of what changed since ``other``, or since the volume's latest snapshot."""
        query = {"other": other or None}
        return rows(self.begin("GET", f"/sampan{volume_path(volume)}/diff", query).result())


def path_stat(headers: "Mapping[str, str]") -> "Json":
    """Return the description of a path in an answer's head. Raises ConnectionFailed: no daemon sends none."""
    from binascii import Error, a2b_base64

    try:
        return document(jsonlite.loads(a2b_base64(headers.get("x-docker-container-path-stat", ""))))
    except (Error, ValueError) as error:
        raise ConnectionFailed(f"unable to decode container path stat header: {error}", "") from error


def checked(messages: "Iterable[Json]") -> "Iterator[Json]":
    """Pass the messages of a progress stream on; raise StreamFailed at one that is an error."""
    coming = iter(messages)
    for message in coming:
        detail = message.get("errorDetail") or {}
        if reason := detail.get("message") or message.get("error"):
            for _ in coming:
                pass  # an error is the last message: what is left is the end of the answer
            raise StreamFailed(str(reason))
        yield message
