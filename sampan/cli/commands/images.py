"""Commands about images: ls, load, tag, rm, history, and ``bootstrap``, which needs no registry."""

import posix

from sampan.base.errors import EngineError, NotFound
from sampan.cli.app import STDIN, STDOUT
from sampan.cli.errors import CommandError
from sampan.cli.lists import show
from sampan.cli.platforms import parse_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_SUBCOMMANDS: "Final" = "build history import inspect list load ls prune pull push rm save tag".split()


def list_images(app: "App", parsed: "Parsed") -> None:
    """Print images, all or those whose name matches."""
    flags = parsed.flags
    filters = dict(flags["filter"])
    name = parsed.args[0] if parsed.args else ""
    if name:
        filters["reference"] = [*filters.get("reference", ()), name]
    if flags["tree"]:
        from sampan.cli.image_tree import render_tree

        for other in ("quiet", "no-trunc", "digests", "format"):
            if flags[other]:
                raise CommandError(f"--{other} is not yet supported with --tree")
        app.write(render_tree(app.client.images(all=flags["all"], manifests=True, filters=filters)))
        return
    quiet, digests = flags["quiet"], flags["digests"]
    source = flags["format"] or ("" if quiet else app.config.text("imagesFormat"))
    images = app.client.images(all=flags["all"], digests=digests, filters=filters)
    show(app, "image", images, source, quiet=quiet, digests=digests, trunc=not flags["no-trunc"])
    if name in _SUBCOMMANDS and not images and parsed.path == "images":
        app.err(f'\nNo images found matching "{name}": did you mean "sampan image {name}"?')


def load(app: "App", parsed: "Parsed") -> None:
    """Load images from an archive and show how that goes."""
    from sampan.cli.progress import show as show_progress

    flags = parsed.flags
    source = STDIN
    if path := flags["input"]:
        try:
            source = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as error:
            raise CommandError(f"open {path}: {(error.strerror or '').lower()}") from error
    elif posix.isatty(STDIN):
        raise CommandError("requested load from stdin, but stdin is empty")
    quiet = flags["quiet"] or not posix.isatty(STDOUT)
    try:
        messages = app.client.load(source, quiet=quiet, platform=parse_platform(flags["platform"]))
        show_progress(app, messages, fd=STDOUT)
    finally:
        if source != STDIN:
            posix.close(source)


def import_image(app: "App", parsed: "Parsed") -> None:
    """Make an image of an archive: a file, standard input, or what is at a URL."""
    from sampan.cli.progress import show as show_progress

    flags = parsed.flags
    source, *rest = parsed.args
    if len(parsed.args) > 2:
        raise CommandError('"sampan import" accepts at most 2 arguments')
    repository, tag = _split_name(rest[0]) if rest else ("", "")
    url, body = "", STDIN
    if source.startswith(("http://", "https://")):
        url = source
    elif source != "-":
        try:
            body = posix.open(source, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as error:
            raise CommandError(f"open {source}: {(error.strerror or '').lower()}") from error
    try:
        messages = app.client.import_image(
            None if url else body,
            url=url,
            repository=repository,
            tag=tag,
            message=flags["message"],
            changes=flags["change"],
            platform=flags["platform"],
        )
        show_progress(app, messages, fd=STDOUT)
    finally:
        if body != STDIN:
            posix.close(body)


def commit(app: "App", parsed: "Parsed") -> None:
    """Make an image of what a container changed, and print its ID."""
    flags = parsed.flags
    repository, tag = _split_name(parsed.args[1]) if len(parsed.args) > 1 else ("", "")
    app.out(
        app.client.commit(
            parsed.args[0],
            repository=repository,
            tag=tag,
            author=flags["author"],
            message=flags["message"],
            changes=flags["change"],
            pause=flags["pause"] and not flags["no-pause"],
        )
    )


def _split_name(text: str) -> tuple[str, str]:
    """Return repository and tag of a name to give; the rest of the rules are the daemon's."""
    from sampan.oci.reference import parse_normalized

    try:
        reference = parse_normalized(text)
    except EngineError as error:
        raise CommandError(str(error)) from error
    if reference.digest:
        raise CommandError("cannot import digest reference")
    name = reference.with_default_tag()
    return name.name_only().familiar, name.tag


def tag(app: "App", parsed: "Parsed") -> None:
    """Give an image another name."""
    from sampan.oci.reference import parse_normalized

    source, target = parsed.args
    try:
        reference = parse_normalized(target)
    except EngineError as error:
        raise CommandError(
            f'Error parsing reference: "{target}" is not a valid repository/tag: {error}'
        ) from error
    if reference.digest:
        raise CommandError("refusing to create a tag with a digest reference")
    name = reference.with_default_tag()
    app.client.tag(source, name.name_only().familiar, name.tag)


def remove(app: "App", parsed: "Parsed") -> None:
    """Take names away from images and print what went; forced, a missing one is no failure."""
    flags = parsed.flags
    platforms = _platforms(flags["platform"])
    failures = []
    fatal = not flags["force"]
    for name in parsed.args:
        try:
            removed = app.client.remove_image(
                name, force=flags["force"], prune=not flags["no-prune"], platforms=platforms
            )
        except EngineError as error:
            fatal = fatal or not isinstance(error, NotFound)
            failures.append(str(error))
        else:
            app.out_lines(_removal(entry) for entry in removed)
    if failures and fatal:
        raise CommandError("\n".join(failures))
    if failures:
        app.err("\n".join(failures))


def _removal(entry: "dict[str, Any]") -> str:
    return f"Deleted: {entry['Deleted']}" if entry.get("Deleted") else f"Untagged: {entry['Untagged']}"


def history(app: "App", parsed: "Parsed") -> None:
    """Print the steps that made an image, newest first."""
    flags = parsed.flags
    steps = app.client.history(parsed.args[0], platform=parse_platform(flags["platform"]))
    quiet, trunc, human = flags["quiet"], not flags["no-trunc"], flags["human"]
    show(app, "history", steps, flags["format"], quiet=quiet, trunc=trunc, human=human)


def bootstrap(app: "App", parsed: "Parsed") -> None:
    """Make a base image of the host distribution's packages; with ``--tag`` under another name than usual."""
    from sampan.cli.progress import show as show_progress

    client, made, wanted = app.client, parsed.args[0], parsed.flags["tag"]
    before = _identifier(app, made) if wanted else None
    show_progress(app, client.bootstrap(made), fd=STDOUT)
    if not wanted:
        return
    parsed.args = [made, wanted]
    tag(app, parsed)
    if before is None:
        client.remove_image(made)
    else:
        parsed.args = [before, made]
        tag(app, parsed)


def _platforms(texts: list[str]) -> list[str]:
    from sampan.base.jsonlite import dumps

    return [dumps(parse_platform(text)) for text in texts]


def _identifier(app: "App", name: str) -> str | None:
    try:
        return str(app.client.inspect_image(name)["Id"])
    except NotFound:
        return None
