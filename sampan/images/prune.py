"""Which images a prune takes: decided over the store and the users of images; ``service`` carries it out.

An image that a container uses keeps all of its names; Docker takes all but one of them. One from which others
were made loses its names, and goes itself when those go.
"""

from collections.abc import Callable, Collection

from sampan.images.filters import PruneFilter
from sampan.images.remove import ImageUsers
from sampan.images.store import ImageRecord, ImageStore
from sampan.wire.disk import Prunable

KIND = "image"


def plan_prune(store: ImageStore, used: Callable[[str], bool], wanted: PruneFilter) -> list[Prunable]:
    """Return what a prune takes, children before parents; ``used`` tells whether a container uses an image.

    What that frees is not said yet.
    """
    images = store.images()
    children: dict[str, set[str]] = {}
    for record in images.values():
        if record.parent:
            children.setdefault(record.parent, set()).add(record.id)
    chosen = {
        record.id: _why(store, record, wanted)
        for record in images.values()
        if _is_wanted(store, record, wanted, children) and not used(record.id)
    }
    going: list[str] = []
    gone: set[str] = set()
    pending = list(chosen)
    while pending:
        image_id = pending.pop(0)
        if image_id in gone or not children.get(image_id, set()) <= gone:
            continue  # if all its children go, the last of them puts it back
        going.append(image_id)
        gone.add(image_id)
        parent = images.get(images[image_id].parent)
        if parent is not None and (parent.id in chosen or _is_left(store, parent, used)):
            pending.append(parent.id)
    untagged = [image_id for image_id in chosen if image_id not in gone and store.references(image_id)]
    return [
        *(_item(store, image_id, chosen.get(image_id, "its children go")) for image_id in going),
        *(
            _item(store, image_id, "no container uses it; images made from it stay", only_names=True)
            for image_id in untagged
        ),
    ]


def against(store: ImageStore, users: ImageUsers, item: Prunable) -> str:
    """Return why an image that is there is not to be taken as ``item`` planned it; "" if it is."""
    if [reference.familiar for reference in store.references(item.id)] != item.names:
        return "it has other names by now"
    if users.containers_of(item.id):
        return "a container uses it by now"
    if not item.only_names and store.children(item.id):
        return "images were made from it by now"
    return ""


def _is_wanted(
    store: ImageStore, record: ImageRecord, wanted: PruneFilter, children: Collection[str]
) -> bool:
    references = store.references(record.id)
    if not wanted.takes(record) or (record.id in children and (wanted.dangling or not references)):
        return False
    return not (wanted.dangling and any(reference.tag for reference in references))


def _is_left(store: ImageStore, record: ImageRecord, used: Callable[[str], bool]) -> bool:
    """True for an image that stood only for those made from it."""
    return not store.references(record.id) and not used(record.id)


def _why(store: ImageStore, record: ImageRecord, wanted: PruneFilter) -> str:
    if wanted.dangling or not store.references(record.id):
        return "it has no tag"
    return "no container uses it"


def _item(store: ImageStore, image_id: str, reason: str, *, only_names: bool = False) -> Prunable:
    names = [reference.familiar for reference in store.references(image_id)]
    shown = names[0] if names else "<none>"
    return Prunable(KIND, image_id, shown, 0, reason, names, only_names)
