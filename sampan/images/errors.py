"""What can go wrong with images, in Docker's words where clients match on them."""

from sampan.base.errors import Conflict, InvalidParameter, NotFound
from sampan.base.ids import short_id


class ImageNotFound(NotFound):
    """No image has this name, ID or digest; ``name`` is the familiar name with its tag."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No such image: {name}")


class BlobNotFound(NotFound):
    """The content store has no blob of this digest."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"blob {digest} is not in the content store")


class WrongDigest(InvalidParameter):
    """Bytes are not those that their digest or size promises."""


class InvalidArchive(InvalidParameter):
    """An image archive cannot be read, or does not hold together."""


class TooLarge(InvalidParameter):
    """Compressed data expands beyond the limit."""


class ImageConflict(Conflict):
    """An image cannot be deleted; ``hard`` conflicts stand even against force."""

    def __init__(self, image_id: str, reason: str, *, hard: bool, used: bool = False) -> None:
        force = "cannot be forced" if hard else "must be forced"
        super().__init__(f"conflict: unable to delete {short_id(image_id)} ({force}) - {reason}")
        self.used = used
