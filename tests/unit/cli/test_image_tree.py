"""Images as a tree."""

from sampan.cli.image_tree import render_tree


def manifest(architecture: str, content: int, unpacked: int, *containers: str) -> dict[str, object]:
    return {
        "ID": "sha256:" + architecture[0] * 64,
        "Kind": "image",
        "Size": {"Content": content, "Total": content + unpacked},
        "ImageData": {
            "Platform": {"os": "linux", "architecture": architecture},
            "Containers": list(containers),
        },
    }


def test_platforms_stand_below_their_image() -> None:
    attestation = {"Kind": "attestation", "ID": "sha256:" + "e" * 64, "Size": {"Content": 1, "Total": 1}}
    both = [manifest("amd64", 2_000_000, 5_000_000, "x"), manifest("arm64", 400, 0)]
    images: list[dict[str, object]] = [
        {
            "Id": "sha256:" + "1" * 64,
            "RepoTags": ["two:1", "three:latest"],
            "Size": 5_000_000,
            "Manifests": [*both, attestation],
        },
        {"Id": "sha256:" + "2" * 64, "RepoTags": [], "Size": 10},
    ]
    assert render_tree(images).split("\n")[2:] == [
        "IMAGE            ID             DISK USAGE   CONTENT SIZE   EXTRA",
        "two:1",
        "three:latest     111111111111          5MB            2MB   U",
        "├─ linux/amd64   aaaaaaaaaaaa          7MB            2MB   U",
        "└─ linux/arm64   aaaaaaaaaaaa         400B           400B",
        "",
        "<untagged>       222222222222          10B             0B",
        "",
    ]
