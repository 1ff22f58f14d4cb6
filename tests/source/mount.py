"""Lays files out as kubelet does for a mounted ConfigMap."""

import shutil
from pathlib import Path


def mount_config_map(directory: Path, version: str, files: dict[str, str]) -> None:
    """Writes files the way kubelet mounts a ConfigMap: a hidden directory, a link to it that is swapped, and a link
    through that for each file."""
    hidden = directory / f"..{version}"
    for path, text in files.items():
        (hidden / path).parent.mkdir(parents=True, exist_ok=True)
        (hidden / path).write_text(text)
    (directory / "..data_tmp").symlink_to(hidden.name)
    former = (directory / "..data").readlink() if (directory / "..data").is_symlink() else None
    (directory / "..data_tmp").rename(directory / "..data")
    for name in {path.split("/")[0] for path in files}:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    if former is not None:
        shutil.rmtree(directory / former)
