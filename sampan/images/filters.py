"""The filters of ``images`` and ``image prune``, with Docker's rules and words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.base.times import parse_moment_ns
from sampan.images.store import ImageRecord
from sampan.oci.glob import Glob
from sampan.oci.reference import Reference

LIST_FILTERS: Final = frozenset({"dangling", "label", "before", "since", "reference", "until"})
PRUNE_FILTERS: Final = frozenset({"dangling", "label", "label!", "until"})


class InvalidFilter(InvalidParameter):
    """A filter is unknown, or its values make no sense together."""

    def __init__(self, name: str, values: Sequence[str] | None = None) -> None:
        what = name if values is None else f"{name}=[{' '.join(values)}]"
        super().__init__(f"invalid filter '{what}'")


def check_names(filters: Mapping[str, Sequence[str]], known: frozenset[str]) -> None:
    """Raise InvalidFilter for the first filter that is not known."""
    for name in filters:
        if name not in known:
            raise InvalidFilter(name)


def yes_or_no(filters: Mapping[str, Sequence[str]], name: str) -> bool | None:
    """Return the value of a filter such as ``dangling``, None if it is not given. Raises InvalidFilter."""
    values = filters.get(name)
    if values is None:
        return None
    yes = bool({"1", "true"} & set(values))
    no = bool({"0", "false"} & set(values))
    if yes == no:
        raise InvalidFilter(name, values)
    return yes


def has_labels(labels: Mapping[str, str] | None, wanted: Sequence[str]) -> bool:
    """True if every ``key`` or ``key=value`` of ``wanted`` is among ``labels``."""
    for entry in wanted:
        key, equals, value = entry.partition("=")
        found = (labels or {}).get(key)
        if found is None or (equals and found != value):
            return False
    return True


@dataclass(frozen=True, slots=True)
class PruneFilter:
    """The filters of ``image prune``; ``dangling``: only images without tags go."""

    dangling: bool
    until_ns: int | None
    labels: Sequence[str]
    unlike: Sequence[str]

    @classmethod
    def parse(cls, filters: Mapping[str, Sequence[str]]) -> "PruneFilter":
        """Read the filters. Raises InvalidFilter."""
        check_names(filters, PRUNE_FILTERS)
        dangling = yes_or_no(filters, "dangling")
        until = filters.get("until", ())
        if len(until) > 1:
            raise InvalidParameter("more than one until filter specified")
        return cls(
            dangling=dangling is not False,
            until_ns=parse_moment_ns(until[0]) if until else None,
            labels=filters.get("label", ()),
            unlike=filters.get("label!", ()),
        )

    def takes(self, record: ImageRecord) -> bool:
        """True if the image may go, as far as it is up to its own properties."""
        if self.until_ns is not None and (record.created_ns is None or record.created_ns > self.until_ns):
            return False
        if not record.has_config:
            return True
        return has_labels(record.labels, self.labels) and not (
            self.unlike and has_labels(record.labels, self.unlike)
        )


@dataclass(frozen=True, slots=True)
class ListFilter:
    """The filters of ``images``: which images, and which of their names are shown."""

    dangling: bool | None
    labels: Sequence[str]
    before_ns: int | None
    since_ns: int | None
    patterns: Sequence[Glob]

    @classmethod
    def parse(cls, filters: Mapping[str, Sequence[str]], find: Callable[[str], ImageRecord]) -> "ListFilter":
        """Read the filters; ``find`` looks up the images of before and since. Raises InvalidFilter."""
        check_names(filters, LIST_FILTERS)
        before = [
            moment for name in filters.get("before", ()) if (moment := find(name).created_ns) is not None
        ]
        before += [parse_moment_ns(text) for text in filters.get("until", ())]
        since = [moment for name in filters.get("since", ()) if (moment := find(name).created_ns) is not None]
        return cls(
            dangling=yes_or_no(filters, "dangling"),
            labels=filters.get("label", ()),
            before_ns=min(before, default=None),
            since_ns=max(since, default=None),
            patterns=[Glob(pattern) for pattern in filters.get("reference", ())],
        )

    def takes(self, record: ImageRecord) -> bool:
        """True if the image's own properties pass."""
        created = record.created_ns
        if self.before_ns is not None and (created is None or created >= self.before_ns):
            return False
        if self.since_ns is not None and (created is None or created <= self.since_ns):
            return False
        return not self.labels or (record.has_config and has_labels(record.labels, self.labels))

    def shown(self, references: Sequence[Reference]) -> list[Reference]:
        """Return the names that match a ``reference`` pattern; all where there is none."""
        if not self.patterns:
            return list(references)
        return [
            reference
            for reference in references
            if any(
                glob.matches(reference.familiar) or glob.matches(reference.familiar_name)
                for glob in self.patterns
            )
        ]

    def takes_unnamed(self) -> bool:
        """True if an image without (matching) names may be listed."""
        return not self.patterns and self.dangling is not False
