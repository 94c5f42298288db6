"""Contexts of Docker's client on disk."""

import json
from pathlib import Path

from sampan.client.contexts import ContextStore


def save_context(folder: Path, name: str, host: str, *, skip_verify: bool = False, tls: bool = False) -> None:
    """Put a context into the settings ``folder``; ``tls``: with the file of a CA, which is empty."""
    store = ContextStore(str(folder))
    meta = Path(store.meta_folder(name))
    meta.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": skip_verify}
    document = {"Name": name, "Metadata": {"Description": f"{name}!"}, "Endpoints": {"docker": endpoint}}
    (meta / "meta.json").write_text(json.dumps(document))
    if tls:
        files = Path(store.tls_folder(name), "docker")
        files.mkdir(parents=True)
        (files / "ca.pem").write_text("")
