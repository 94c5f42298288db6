"""``manifest``: look at manifests in registries, and put several images together under one name.

As with Docker's client this is the client's own business: it asks registries itself, with the user's
credentials, and keeps unfinished lists beside the settings. The daemon is not needed.
"""

import asyncio

from sampan.base.errors import EngineError, NotFound
from sampan.cli.errors import CommandError
from sampan.client.manifest_lists import (
    ManifestLists,
    is_known,
    render_entry,
    render_list,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeVar

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed
    from sampan.cli.registries import RegistryClient
    from sampan.client.manifest_lists import Entry
    from sampan.oci.reference import Reference

    T = TypeVar("T")


def inspect(app: "App", parsed: "Parsed") -> None:
    """Print a manifest or a list: of an unfinished list, else of a registry."""
    flags, lists = parsed.flags, ManifestLists(app.config.directory)
    verbose = flags["verbose"]
    if len(parsed.args) == 2:
        target, reference = _reference(parsed.args[0]), _reference(parsed.args[1])
        entry = lists.find(str(target), str(reference))
        if entry is None:
            entry = _ask(app, parsed, lambda registries: registries.image(reference))
        _print_entry(app, entry, verbose=verbose)
        return
    reference = _reference(parsed.args[0])
    entries = lists.get(str(reference))
    if not entries:
        entries, is_list = _ask(app, parsed, lambda registries: registries.look(reference))
        if not is_list:
            _print_entry(app, entries[0], verbose=verbose)
            return
    if verbose:
        app.out(_with_tabs([render_entry(entry) for entry in entries]))
    else:
        app.out(render_list(entries).decode())


def _print_entry(app: "App", entry: "Entry", *, verbose: bool) -> None:
    app.out(_with_tabs(render_entry(entry) if verbose else entry.manifest))


def create(app: "App", parsed: "Parsed") -> None:
    """Begin a list of images, or add to one."""
    name, *manifests = parsed.args
    try:
        target = _reference(name)
    except EngineError as error:
        raise CommandError(f"error parsing name for manifest list {name}: {error}") from error
    lists = ManifestLists(app.config.directory)
    if lists.get(str(target)) and not parsed.flags["amend"]:
        raise CommandError("refusing to amend an existing manifest list with no --amend flag")
    references = [_reference(text) for text in manifests]

    async def gather(registries: "RegistryClient") -> "list[Entry]":
        return [
            lists.find(str(target), str(reference)) or await registries.image(reference)
            for reference in references
        ]

    for entry in _ask(app, parsed, gather):
        lists.save(str(target), entry)
    app.out(f"Created manifest list {target.familiar}")


def annotate(app: "App", parsed: "Parsed") -> None:
    """Say what platform an image of a list is for."""
    from msgspec import structs

    target, reference = _reference(parsed.args[0]), _reference(parsed.args[1])
    lists, flags = ManifestLists(app.config.directory), parsed.flags
    entry = lists.find(str(target), str(reference))
    if entry is None:
        raise CommandError(f"manifest for image {reference.familiar} does not exist in {target.familiar}")
    old = entry.platform
    platform = structs.replace(
        old,
        os=flags["os"] or old.os,
        architecture=flags["arch"] or old.architecture,
        variant=flags["variant"] or old.variant,
        os_version=flags["os-version"] or old.os_version,
        os_features=tuple(dict.fromkeys((*old.os_features, *flags["os-features"]))),
    )
    if not is_known(platform):
        raise CommandError(
            "manifest entry for image has unsupported os/arch combination: "
            f"{flags['os'] or ''}/{flags['arch'] or ''}"
        )
    lists.save(
        str(target),
        structs.replace(entry, descriptor=structs.replace(entry.descriptor, platform=platform)),
    )


def push(app: "App", parsed: "Parsed") -> None:
    """Send a list to its registry, with the images it names."""
    target = _reference(parsed.args[0])
    lists = ManifestLists(app.config.directory)
    entries = lists.get(str(target))
    if not entries:
        raise CommandError(f"No such manifest: {target.familiar}")
    for entry in entries:
        domain = _reference(entry.ref).domain
        if domain != target.domain:
            raise CommandError(
                "cannot use source images from a different registry than the target image: "
                f"{domain} != {target.domain}"
            )
        if not entry.platform.os or not entry.platform.architecture:
            raise CommandError(
                f"manifest {entry.ref} must have an OS and Architecture to be pushed to a registry"
            )
    digest = _ask(app, parsed, lambda registries: registries.push(target, entries, app.out))
    app.out(digest)
    if parsed.flags["purge"]:
        lists.remove(str(target))


def remove(app: "App", parsed: "Parsed") -> None:
    """Forget unfinished lists."""
    lists = ManifestLists(app.config.directory)
    failures = []
    for name in parsed.args:
        target = _reference(name)
        if lists.get(str(target)):
            lists.remove(str(target))
        else:
            failures.append(f"No such manifest: {target.familiar}")
    if failures:
        raise CommandError("\n".join(failures))


def referrers(app: "App", parsed: "Parsed") -> None:
    """Print what refers to an image in its registry: signatures, SBOMs and other artifacts."""
    from msgspec import to_builtins

    kind = parsed.flags["artifact-type"] or ""
    reference = _reference(parsed.args[0])
    found = _ask(app, parsed, lambda registries: registries.referrers(reference, kind))
    app.out(_with_tabs([to_builtins(descriptor) for descriptor in found]))


def _reference(text: str) -> "Reference":
    from sampan.oci.reference import parse_normalized

    return parse_normalized(text).with_default_tag()


def _ask(app: "App", parsed: "Parsed", question: "Callable[[RegistryClient], Coroutine[Any, Any, T]]") -> "T":
    """Return the answer of registries to ``question``."""
    from sampan.cli.registries import RegistryClient

    insecure = "insecure" in parsed.flags and parsed.flags["insecure"]

    async def conversation() -> "T":
        async with RegistryClient(app.config, app.environ, insecure=insecure) as registries:
            return await question(registries)

    try:
        return asyncio.run(conversation())
    except NotFound as error:
        raise CommandError(str(error)) from error


def _with_tabs(value: "Any") -> str:
    from sampan.cli.inspect import indented

    return indented(value, step="\t")
