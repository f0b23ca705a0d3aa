"""Builds the image without a registry of images: from a bare Debian, with packages that this machine's pip fetched."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.install.kit import LOCK, ROOT, run

# Its Python is 3.11.
_DEBIAN = "bookworm"
_PYTHON = "3.11"
_PACKAGES = "python3,python3-venv"
_OF_BUILD = ("uv==", "setuptools==")
_ISOLATION = ("--isolation", "chroot")


def need_programs() -> None:
    """What builds the image; without it the test is skipped."""
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} (Debian: apt-get install {' '.join(missing)})")


@contextmanager
def built_image(folder: Path) -> Iterator[str]:
    """The name of the image; it and what it was built of are gone afterwards."""
    name = f"localhost/lei-exports-test-{folder.name}".lower()
    base = f"{name}-base"
    config, wheels = folder / "config", folder / "wheels"
    try:
        _make_base(base, folder)
        _fetch(wheels, folder)
        config.mkdir()
        (config / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n", encoding="utf-8")
        (config / "uv.toml").write_text('no-index = true\nfind-links = ["/wheels"]\n', encoding="utf-8")
        secrets = [part for file in config.iterdir() for part in ("--secret", f"id={file.name},src={file}")]
        base_of_it = ("--build-arg", f"BASE={base}", "--volume", f"{wheels}:/wheels:ro")
        file = ("--format", "docker", "--file", ROOT / "Containerfile", "--tag", name)
        run("buildah", "bud", *_ISOLATION, *base_of_it, *secrets, *file, ROOT, cwd=folder)
        yield name
    finally:
        run("sh", "-c", f"buildah rmi --force {name} {base} >/dev/null 2>&1 || true", cwd=folder)


@contextmanager
def container(image: str, folder: Path) -> Iterator[str]:
    """A container of the image, in which commands can be run one beside the other."""
    name = run("buildah", "from", image, cwd=folder).stdout.strip()
    try:
        yield name
    finally:
        run("buildah", "rm", name, cwd=folder)


def command_in(container: str, words: list[str], environment: dict[str, str], volumes: list[str]) -> list[str]:
    """What runs words in a container: as its account, in this machine's network, with these folders."""
    settings = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
    folders = [part for volume in volumes for part in ("--volume", volume)]
    return ["buildah", "run", *_ISOLATION, *settings, *folders, container, "--", *words]


def config_of(image: str, folder: Path) -> dict[str, object]:
    """What the image says of itself, as Docker has it."""
    found: dict[str, object] = json.loads(run("buildah", "inspect", "--type", "image", image, cwd=folder).stdout)
    return dict(found["Docker"]["config"])  # type: ignore[index]


def _make_base(name: str, folder: Path) -> None:
    container = run("buildah", "from", "scratch", cwd=folder).stdout.strip()
    try:
        mounted = run("buildah", "mount", container, cwd=folder).stdout.strip()
        run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _DEBIAN, mounted, cwd=folder)
        run("buildah", "umount", container, cwd=folder)
        run("buildah", "commit", "--quiet", container, name, cwd=folder)
    finally:
        run("buildah", "rm", container, cwd=folder)


def _fetch(wheels: Path, folder: Path) -> None:
    """Fetch what the image needs of the lock, and nothing of what only tests need."""
    needed, of_build = folder / "needed.txt", folder / "build.txt"
    run(
        Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--python-version", _PYTHON, "--no-header",
        "--generate-hashes", "--no-strip-extras", "--constraints", LOCK, "--extra", "deploy", "--extra", "serve",
        "--output-file", needed, ROOT / "pyproject.toml", cwd=folder,
    )  # fmt: skip
    entries = ("\n" + LOCK.read_text(encoding="utf-8")).split("\n")
    kept, wanted = [], False
    for line in entries:
        wanted = line.startswith(_OF_BUILD) if line[:1] not in {"", " ", "#"} else wanted
        kept += [line] if wanted else []
    of_build.write_text("\n".join(kept) + "\n", encoding="utf-8")
    run(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
        "--python-version", _PYTHON, "--dest", wheels, "-r", needed, "-r", of_build, cwd=folder,
    )  # fmt: skip
