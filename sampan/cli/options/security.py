"""Security on the command line: ``--security-opt``, ``--storage-opt`` and capability names."""


def security_options(values: list[str]) -> tuple[list[str], list[str] | None, list[str] | None]:
    """Return HostConfig.SecurityOpt, MaskedPaths and ReadonlyPaths (None: the engine's own).

    A seccomp profile that is a file is read and sent along. Raises ValueError.
    """
    return system_paths([_security_option(value) for value in values])


def _security_option(text: str) -> str:
    key, separator, value = text.partition("=")
    if key == "no-new-privileges":
        return text
    if not separator:
        key, separator, value = text.partition(":")
    if not separator or not value:
        from sampan.cli.gotext import quote

        raise ValueError(f"invalid --security-opt: {quote(text)}")
    if key == "seccomp" and value not in {"builtin", "unconfined"}:
        return f"seccomp={_profile(value)}"
    return text


def _profile(name: str) -> str:
    """Return a seccomp profile as compact JSON. Raises ValueError."""
    from sampan.base.jsonlite import dumps, loads

    try:
        with open(name, "rb") as file:
            content = file.read()
    except OSError as error:
        reason = f"{'read' if error.errno == 21 else 'open'} {name}: {(error.strerror or '').lower()}"
        raise ValueError(f"opening seccomp profile ({name}) failed: {reason}") from error
    try:
        return dumps(loads(content))
    except ValueError as error:
        raise ValueError(f"compacting json for seccomp profile ({name}) failed: {error}") from error


def system_paths(values: list[str]) -> tuple[list[str], list[str] | None, list[str] | None]:
    """Take ``systempaths=unconfined`` out of security options: it means no masked and no read-only paths."""
    kept = [value for value in values if value != "systempaths=unconfined"]
    return (kept, None, None) if len(kept) == len(values) else (kept, [], [])


def storage_options(values: list[str]) -> dict[str, str]:
    """Return HostConfig.StorageOpt. Raises ValueError."""
    if any("=" not in value for value in values):
        raise ValueError("invalid storage option")
    return {key: value for key, _, value in (option.partition("=") for option in values)}


def normal_capability(name: str) -> str:
    """Return a capability as ``CAP_NAME``; ``ALL`` and ``RESET`` stay."""
    name = name.strip().upper()
    return name if name in {"ALL", "RESET"} or name.startswith("CAP_") else f"CAP_{name}"


def effective_capabilities(add: list[str], drop: list[str]) -> tuple[list[str], list[str]]:
    """Return what is really added and dropped, sorted: adding goes before dropping, ``ALL`` before names."""
    added = {normal_capability(name) for name in add}
    dropped = {normal_capability(name) for name in drop}
    added = {"ALL"} if "ALL" in added else added
    dropped = {"ALL"} if "ALL" in dropped else dropped
    return sorted(added - {"RESET"}), sorted(dropped - added - {"RESET"})
