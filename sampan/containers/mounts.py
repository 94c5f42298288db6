"""What a container mounts: ``Binds``, ``Mounts`` and image volumes, checked and turned into mount points.

Pure but for one question: whether the source of a ``--mount type=bind`` exists. The rules and the wording are
those of moby's volume/mounts parser for Linux.
"""

import posixpath
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.errors import InvalidParameter
from sampan.base.ids import new_id
from sampan.containers.container import Mounted
from sampan.containers.idmap import OWNER, parse_idmap
from sampan.wire.containers import (
    BindOptions,
    DriverConfig,
    ImageOptions,
    Mount,
    MountPoint,
    TmpfsOptions,
    VolumeOptions,
)

_PROPAGATION: Final = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_CONSISTENCY: Final = frozenset({"consistent", "cached", "delegated"})
_TMPFS_FLAGS: Final = frozenset(
    (
        "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev "
        "nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid private rbind "
        "relatime remount ro rprivate rshared rslave runbindable rw shared silent slave strictatime suid "
        "sync unbindable "
    ).split()
)
_TMPFS_KEYS: Final = frozenset({"mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol"})
DEFAULT_TMPFS_OPTIONS: Final = ("noexec", "nosuid", "nodev", "rprivate")


def _invalid(kind: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f'invalid mount config for type "{kind}": {reason}')


def _duplicate(destination: str) -> InvalidParameter:
    return InvalidParameter(f"Duplicate mount point: {destination}")


def _valid_mode(mode: str) -> bool:
    if not mode:
        return True
    counts = {"access": 0, "label": 0, "propagation": 0, "copy": 0, "consistency": 0, "idmap": 0}
    for word in mode.split(","):
        if word in ("rw", "ro"):
            counts["access"] += 1
        elif word in ("z", "Z"):
            counts["label"] += 1
        elif word in _PROPAGATION:
            counts["propagation"] += 1
        elif word == "nocopy":
            counts["copy"] += 1
        elif word in _CONSISTENCY:
            counts["consistency"] += 1
        elif word == "idmap" or word.startswith("idmap="):
            counts["idmap"] += 1
        else:
            return False
    return all(count <= 1 for count in counts.values())


def parse_bind(raw: str, volume_driver: str = "") -> tuple[Mount, str]:
    """Read ``[SOURCE:]DESTINATION[:MODE]`` into the equal ``Mount`` and its mode.

    Raises InvalidParameter ("invalid volume specification: …", "invalid mode: …").
    """
    bad = InvalidParameter(f"invalid volume specification: '{raw}'")
    parts = raw.split(":")
    if len(parts) > 3 or not parts[0]:
        raise bad
    mode = ""
    mount = Mount(type="volume")
    if len(parts) == 1:
        mount.target = parts[0]
    else:
        if len(parts) == 2 and _valid_mode(parts[1]):
            raise bad
        mount.source, mount.target = parts[0], parts[1]
        mode = parts[2] if len(parts) == 3 else ""
    if not _valid_mode(mode) or (len(parts) == 3 and not mode):
        raise InvalidParameter(f"invalid mode: {mode}") if mode else bad
    words = mode.split(",")
    mount.read_only = "ro" in words
    if mount.source.startswith("/"):
        mount.type = "bind"
    elif volume_driver:
        mount.volume_options = VolumeOptions(driver_config=DriverConfig(name=volume_driver))
    if "nocopy" in words and mount.type == "volume":
        options = mount.volume_options = mount.volume_options or VolumeOptions()
        options.no_copy = True
    if idmap := next((word for word in words if word.partition("=")[0] == "idmap"), ""):
        mount.idmap = idmap.partition("=")[2] or OWNER
    if propagation := next((word for word in words if word in _PROPAGATION), ""):
        mount.bind_options = BindOptions(propagation=propagation)
    if mount.type == "bind":
        mount.bind_options = mount.bind_options or BindOptions()
        mount.bind_options.create_mountpoint = True
    try:
        check_mount(mount, source_must_exist=False)
    except InvalidParameter as error:
        raise InvalidParameter(f"{bad}: {error}") from error
    return mount, mode


def check_mount(mount: Mount, *, source_must_exist: bool = True) -> None:
    """Raise InvalidParameter unless ``mount`` is a complete and consistent ``--mount``."""
    kind = mount.type
    if not mount.target:
        raise _invalid(kind, "field Target must not be empty")
    if not mount.target.startswith("/"):
        raise _invalid(kind, f"invalid mount path: '{mount.target}' mount path must be absolute")
    if posixpath.normpath(mount.target) in ("/", "//"):
        raise _invalid(kind, "invalid specification: destination can't be '/'")
    extras: dict[str, BindOptions | VolumeOptions | ImageOptions | TmpfsOptions | None] = {
        "BindOptions": mount.bind_options,
        "VolumeOptions": mount.volume_options,
        "ImageOptions": mount.image_options,
        "TmpfsOptions": mount.tmpfs_options,
    }
    own = {"bind": "BindOptions", "volume": "VolumeOptions", "image": "ImageOptions", "tmpfs": "TmpfsOptions"}
    if kind not in own:
        raise _invalid(kind, "mount type unknown")
    if kind == "bind" and not mount.source:
        raise _invalid(kind, "field Source must not be empty")
    for field, value in extras.items():
        if value is not None and field != own[kind]:
            raise _invalid(kind, f"field {field} must not be specified")
    if mount.idmap:
        if kind not in ("bind", "volume"):
            raise _invalid(kind, "field IDMap must not be specified")
        parse_idmap(mount.idmap)
    if kind == "bind":
        _check_bind(mount, source_must_exist=source_must_exist)
    elif kind == "volume" and mount.volume_options and mount.volume_options.subpath:
        if not mount.source:
            raise _invalid(kind, "must not set Subpath when using anonymous volumes")
        _check_subpath(kind, mount.volume_options.subpath)
    elif kind == "tmpfs":
        if mount.source:
            raise _invalid(kind, "field Source must not be specified")
        render_tmpfs(mount)
    elif kind == "image":
        if not mount.source:
            raise _invalid(kind, "field Source must not be empty")
        if mount.image_options and mount.image_options.subpath:
            _check_subpath(kind, mount.image_options.subpath)


def _check_bind(mount: Mount, *, source_must_exist: bool) -> None:
    options = mount.bind_options or BindOptions()
    if options.propagation and options.propagation not in _PROPAGATION:
        raise _invalid("bind", f"invalid propagation mode: {options.propagation}")
    if options.read_only_non_recursive and not mount.read_only:
        raise _invalid("bind", "mount is read-write but ReadOnlyNonRecursive is set")
    if options.read_only_force_recursive:
        if not mount.read_only:
            raise _invalid("bind", "mount is read-write but ReadOnlyForceRecursive is set")
        if options.read_only_non_recursive:
            raise _invalid("bind", "ReadOnlyNonRecursive and ReadOnlyForceRecursive are both set")
    if not mount.source.startswith("/"):
        raise _invalid("bind", f"invalid mount path: '{mount.source}' mount path must be absolute")
    if source_must_exist and not options.create_mountpoint and not Path(mount.source).exists():
        raise _invalid("bind", f"bind source path does not exist: {mount.source}")


def _check_subpath(kind: str, subpath: str) -> None:
    if subpath.startswith("/"):
        raise _invalid(kind, "subpath must be a relative path within the volume")
    if posixpath.normpath(subpath).startswith(".."):
        raise _invalid(kind, "subpath must be a relative path within the volume")


def render_tmpfs(mount: Mount) -> list[str]:
    """Return the mount options of a ``--mount type=tmpfs``. Raises InvalidParameter for a bad one."""
    options = list(DEFAULT_TMPFS_OPTIONS)
    if mount.read_only:
        options.append("ro")
    wanted = mount.tmpfs_options or TmpfsOptions()
    if wanted.size_bytes < 0:
        raise _invalid("tmpfs", "size must not be negative")
    if wanted.mode:
        options.append(f"mode={wanted.mode:o}")
    if wanted.size_bytes:
        options.append(f"size={wanted.size_bytes}")
    options += ["=".join(entry) for entry in wanted.options or []]
    return merge_tmpfs(options)


def merge_tmpfs(options: Iterable[str]) -> list[str]:
    """Let later options win over earlier ones of the same meaning, as moby's MergeTmpfsOptions does.

    Raises InvalidParameter for an option that tmpfs does not take.
    """
    opposites = {"ro": "rw", "exec": "noexec", "suid": "nosuid", "dev": "nodev", "async": "sync"}
    opposites |= {v: k for k, v in opposites.items()}
    chosen: dict[str, str] = {}
    for option in options:
        key, equals, _ = option.partition("=")
        if (key not in _TMPFS_KEYS) if equals else (key not in _TMPFS_FLAGS):
            raise InvalidParameter(f"invalid tmpfs option {option!r}".replace("'", '"'))
        chosen.pop(opposites.get(key, key), None)
        chosen.pop(key, None)
        chosen[key] = option
    return [option for option in chosen.values() if option != "defaults"]


def parse_tmpfs(destination: str, text: str) -> list[str]:
    """Check one entry of HostConfig.Tmpfs and return its mount options."""
    if not destination.startswith("/"):
        raise InvalidParameter(f"invalid mount path: '{destination}' mount path must be absolute")
    if posixpath.normpath(destination) in ("/", "//"):
        raise _invalid("tmpfs", "invalid specification: destination can't be '/'")
    return merge_tmpfs([*DEFAULT_TMPFS_OPTIONS, *(word for word in text.split(",") if word)])


def plan_mounts(
    *,
    binds: Sequence[str],
    mounts: Sequence[Mount],
    image_volumes: Iterable[str],
    volume_driver: str,
    volume_path: Callable[[str], str],
    inherited: Sequence[Mounted] = (),
    tmpfs: Container[str] = (),
) -> list[Mounted]:
    """Turn everything that a container is to mount, but HostConfig.Tmpfs, into one list, by destination.

    ``volume_path`` gives the directory of a volume's data, ``tmpfs`` holds the destinations of
    HostConfig.Tmpfs. Later kinds yield to earlier ones at the same destination: Mounts and Binds (two of
    these there are an error, as is a bind on a tmpfs), then ``inherited`` (VolumesFrom), then the image's
    volumes. Raises InvalidParameter.
    """
    planned: dict[str, Mounted] = {}
    for raw in binds:
        mount, mode = parse_bind(raw, volume_driver)
        entry = _mounted(mount, volume_path, mode=mode)
        if entry.point.destination in tmpfs:
            raise _duplicate(entry.point.destination)
        _place(planned, entry)
    for mount in mounts:
        check_mount(mount)
        _place(planned, _mounted(mount, volume_path))
    for entry in inherited:
        planned.setdefault(entry.point.destination, entry)
    for destination in image_volumes:
        if not destination or ":" in destination:
            raise InvalidParameter(f"invalid volume specification: '{destination}'")
        mount, _ = parse_bind(f"/{destination.lstrip('/')}")  # Docker takes it without its slash, too
        entry = _mounted(mount, volume_path)
        planned.setdefault(entry.point.destination, entry)
    return sorted(planned.values(), key=lambda entry: entry.point.destination.count("/"))


def read_only(entry: Mounted) -> Mounted:
    """Return ``entry`` as a container with ``--volumes-from NAME:ro`` gets it."""
    point = msgspec.structs.replace(entry.point, rw=False)
    options = [option for option in entry.options if option not in ("rw", "ro", "rro")]
    return msgspec.structs.replace(entry, point=point, options=[*options, "ro"])


def _place(planned: dict[str, Mounted], entry: Mounted) -> None:
    destination = entry.point.destination
    if destination in planned:
        raise _duplicate(destination)
    planned[destination] = entry


def _mounted(mount: Mount, volume_path: Callable[[str], str], *, mode: str = "") -> Mounted:
    destination = posixpath.normpath(mount.target)
    access = "ro" if mount.read_only else "rw"
    if mount.type == "tmpfs":
        point = MountPoint(type="tmpfs", destination=destination, rw=not mount.read_only)
        return Mounted(point, render_tmpfs(mount))
    if mount.type == "image":
        point = MountPoint(type="image", name=mount.source, destination=destination, rw=False)
        subpath = mount.image_options.subpath if mount.image_options else ""
        return Mounted(point, ["rbind", "ro", "rprivate"], subpath=subpath)
    if mount.type == "volume":
        options = mount.volume_options or VolumeOptions()
        config = options.driver_config or DriverConfig()
        name = mount.source or new_id()
        point = MountPoint(
            type="volume",
            name=name,
            source=volume_path(name) if config.name in ("", "local") else "",
            destination=destination,
            driver=config.name or "local",
            mode=mode,
            rw=not mount.read_only,
        )
        return Mounted(
            point,
            ["rbind", access, "rprivate"],
            copy_up=not options.no_copy and not options.subpath,
            subpath=options.subpath,
            anonymous=not mount.source,
            labels=options.labels,
            driver_options=config.options,
            idmap=mount.idmap,
        )
    bind = mount.bind_options or BindOptions()
    propagation = bind.propagation or "rprivate"
    if mount.read_only and not (bind.read_only_non_recursive or bind.non_recursive):
        access = "rro"
    point = MountPoint(
        type="bind",
        source=posixpath.normpath(mount.source),
        destination=destination,
        mode=mode,
        rw=not mount.read_only,
        propagation=propagation,
    )
    kind = "bind" if bind.non_recursive else "rbind"
    options_of_mount = [kind, access, propagation]
    return Mounted(point, options_of_mount, create_source=bind.create_mountpoint, idmap=mount.idmap)
