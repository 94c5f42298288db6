"""References: how people and registries name images.

``[domain/]path[:tag][@digest]``. The plain parser takes a reference as it stands; the normalising one knows
that ``ubuntu`` means ``docker.io/library/ubuntu``, and ``familiar`` turns that round. The rules and the words
of the errors are those of github.com/distribution/reference. No ``re`` here: importing it costs a CLI start
more than parsing by hand.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

from sampan.base.errors import InvalidParameter
from sampan.oci.digest import Digest, InvalidDigest, is_identifier
from sampan.oci.glob import Glob

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
MAX_PATH: Final = 255
MAX_TAG: Final = 128
_LEGACY_DOMAIN: Final = "index.docker.io"
_OFFICIAL: Final = "library/"

_LOWER: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALPHA: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS: Final = frozenset("0123456789")
_ALNUM: Final = _ALPHA | _DIGITS
_WORD: Final = _ALNUM | {"_"}
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class InvalidReference(InvalidParameter):
    """A text is no image reference."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference. ``domain``, ``tag`` and ``digest`` are empty where the text has none."""

    path: str
    domain: str = ""
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Domain and path."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def is_name_only(self) -> bool:
        """True if there is neither a tag nor a digest."""
        return not self.tag and not self.digest

    @property
    def familiar_name(self) -> str:
        """The name as people write it: ``docker.io/`` and then a lone ``library/`` are dropped."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in rest else rest

    @property
    def familiar(self) -> str:
        """The whole reference as people write it."""
        return self.familiar_name + self._suffix()

    def with_tag(self, tag: str) -> Self:
        """Return this reference with ``tag``. Raises InvalidReference."""
        if not is_tag(tag):
            raise InvalidReference("invalid tag format")
        return replace(self, tag=tag)

    def with_digest(self, digest: str) -> Self:
        """Return this reference with ``digest``; only its form is checked. Raises InvalidReference."""
        if not _is_digest(digest):
            raise InvalidReference("invalid digest format")
        return replace(self, digest=digest)

    def with_default_tag(self) -> Self:
        """Return this reference, tagged ``latest`` if it has neither tag nor digest."""
        return replace(self, tag=DEFAULT_TAG) if self.is_name_only else self

    def without_tag(self) -> Self:
        """Return this reference without its tag."""
        return replace(self, tag="")

    def name_only(self) -> Self:
        """Return the repository alone."""
        return replace(self, tag="", digest="")


def parse(text: str) -> Reference:
    """Parse a reference as it stands, adding nothing. Raises InvalidReference or InvalidDigest."""
    if not text:
        raise InvalidReference("repository name must have at least one component")
    found = _match(text)
    if found is None:
        if text != text.lower() and _match(text.lower()) is not None:
            raise InvalidReference("repository name must be lowercase")
        raise InvalidReference("invalid reference format")
    if len(found.path) > MAX_PATH:
        raise InvalidReference(f"repository name must not be more than {MAX_PATH} characters")
    if found.digest:
        Digest(found.digest)
    return found


def parse_name(text: str) -> Reference:
    """Parse a repository name: no tag and no digest are allowed. Raises InvalidReference."""
    domain, path = _split_name(text)
    if not path:
        raise InvalidReference("invalid reference format")
    if len(path) > MAX_PATH:
        raise InvalidReference(f"repository name must not be more than {MAX_PATH} characters")
    return Reference(path, domain)


def parse_normalized(text: str) -> Reference:
    """Parse a name as people type it into its full form: ``ubuntu`` is ``docker.io/library/ubuntu``.

    No default tag is added. Raises InvalidReference or InvalidDigest.
    """
    if is_identifier(text):
        raise InvalidReference(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    domain, rest = _split_domain(text)
    remote = rest.partition(":")[0]
    if remote.lower() != remote:
        raise InvalidReference(f"invalid reference format: repository name ({remote}) must be lowercase")
    return parse(f"{domain}/{rest}")


def parse_canonical(text: str) -> Reference:
    """Parse a reference that must be in its full form already. Raises InvalidReference or InvalidDigest."""
    reference = parse_normalized(text)
    if str(reference) != text:
        raise InvalidReference("repository name must be canonical")
    return reference


def parse_tagged(text: str) -> Reference:
    """Parse what people type into a full reference with a tag or a digest: a digest wins, else ``latest``."""
    reference = parse_normalized(text)
    return reference.without_tag() if reference.digest else reference.with_default_tag()


def parse_any(text: str) -> Reference | Digest:
    """Parse a name, a whole image ID or a digest, as people type it. Raises InvalidReference."""
    if is_identifier(text):
        return Digest.sha256(text)
    try:
        return Digest(text)
    except InvalidDigest:
        return parse_normalized(text)


def matches(pattern: str, reference: Reference) -> bool:
    """Match the familiar form of ``reference``, with and without tag and digest, against a shell pattern.

    Raises InvalidPattern. This is what ``images --filter reference=`` does.
    """
    glob = Glob(pattern)
    return glob.matches(reference.familiar) or glob.matches(reference.familiar_name)


def _split_domain(text: str) -> tuple[str, str]:
    """Return domain and the rest, with the defaults of Docker Hub filled in."""
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, _OFFICIAL + text
    if first == _LEGACY_DOMAIN:
        domain, remote = DEFAULT_DOMAIN, rest
    elif first == "localhost" or "." in first or ":" in first or first.lower() != first:
        domain, remote = first, rest
    else:
        domain, remote = DEFAULT_DOMAIN, text
    if domain == DEFAULT_DOMAIN and "/" not in remote:
        remote = _OFFICIAL + remote
    return domain, remote


def _match(text: str) -> Reference | None:
    head, at, digest = text.partition("@")
    if at and not _is_digest(digest):
        return None
    name, tag = head, ""
    colon = head.rfind(":")
    if colon > head.rfind("/"):
        name, tag = head[:colon], head[colon + 1 :]
        if not is_tag(tag):
            return None
    domain, path = _split_name(name)
    return Reference(path, domain, tag, digest) if path else None


def _split_name(name: str) -> tuple[str, str]:
    """Return ``(domain, path)`` of a repository name; an empty path says that it is none."""
    first, slash, rest = name.partition("/")
    if slash and is_domain(first) and is_path(rest):
        return first, rest
    return ("", name) if is_path(name) else ("", "")


def is_domain(text: str) -> bool:
    """True for a host name, IPv4 address or bracketed IPv6 address, with or without a port."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or not host or not (_HEX | {":"}).issuperset(host):
            return False
        return not port or (port[0] == ":" and _is_port(port[1:]))
    host, colon, port = text.partition(":")
    if colon and not _is_port(port):
        return False
    return all(
        label and label[0] in _ALNUM and label[-1] in _ALNUM and (_ALNUM | {"-"}).issuperset(label)
        for label in host.split(".")
    )


def _is_port(text: str) -> bool:
    return bool(text) and _DIGITS.issuperset(text)


def is_path(text: str) -> bool:
    """True for components joined by slashes: the name of a repository within its registry."""
    return all(_is_component(component) for component in text.split("/"))


def _is_component(text: str) -> bool:
    """True for ``[a-z0-9]+`` joined by one period, one or two underscores, or any number of dashes."""
    if not text or text[0] not in _LOWER or text[-1] not in _LOWER:
        return False
    separator = ""
    for character in text:
        if character in _LOWER:
            separator = ""
            continue
        separator += character
        if separator not in {".", "_", "__"} and separator.strip("-"):
            return False
    return True


def is_tag(text: str) -> bool:
    """True for a word character followed by up to 127 word characters, periods and dashes."""
    return 0 < len(text) <= MAX_TAG and text[0] in _WORD and (_WORD | {".", "-"}).issuperset(text)


def _is_digest(text: str) -> bool:
    """True for the digests that the grammar of references allows: known algorithms are checked by Digest."""
    algorithm, colon, encoded = text.partition(":")
    if not colon or len(encoded) < 32 or not _HEX.issuperset(encoded):
        return False
    for separator in "_+.":
        algorithm = algorithm.replace(separator, "-")
    return all(word and word[0] in _ALPHA and _ALNUM.issuperset(word) for word in algorithm.split("-"))
