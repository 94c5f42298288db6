"""TLS contexts for registries: the system's authorities and what lies in ``certs.d/HOST[:PORT]/``.

There ``*.crt`` are further authorities, ``*.cert`` with ``*.key`` certificates of ours. Only this module of
the package imports ``ssl`` by name, when the first encrypted registry is asked.
"""

import logging
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from sampan.base.errors import HostFailure

_log = logging.getLogger(__name__)
Stamps = tuple[tuple[str, int, int], ...]  # path, time of its last change, size


def stamps(host: str, folders: Sequence[Path]) -> Stamps:
    """Return what tells whether the certificates for ``host[:port]`` have changed."""
    found = []
    for folder in folders:
        try:
            for entry in os.scandir(folder / host):
                state = entry.stat()
                found.append((entry.path, state.st_mtime_ns, state.st_size))
        except OSError:
            continue  # whoever reads them says what is wrong
    return tuple(sorted(found))


def client_context(host: str, folders: Sequence[Path], *, verify: bool) -> ssl.SSLContext:
    """Return the context for ``host[:port]``. Raises HostFailure for certificates that cannot be used."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    for folder in folders:
        _add_folder(context, folder / host)
    return context


def _add_folder(context: ssl.SSLContext, folder: Path) -> None:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise HostFailure(f"open {folder}: {(error.strerror or '').lower()}") from error
    for name in names:
        path = folder / name
        try:
            if name.endswith(".crt"):
                _log.debug("registry authority: %s", path)
                context.load_verify_locations(cafile=str(path))
            elif name.endswith(".cert"):
                key = name.removesuffix(".cert") + ".key"
                if key not in names:
                    raise HostFailure(
                        f"missing key {key} for client certificate {name}. CA certificates must use the "
                        "extension .crt"
                    )
                context.load_cert_chain(str(path), str(folder / key))
            elif name.endswith(".key") and name.removesuffix(".key") + ".cert" not in names:
                raise HostFailure(
                    f"missing client certificate {name.removesuffix('.key')}.cert for key {name}"
                )
        except (OSError, ssl.SSLError) as error:
            raise HostFailure(f"cannot use {path}: {error}") from error
