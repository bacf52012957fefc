"""One session per question. `nox -l` lists them; `nox -s tests demo` are the README's two."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types", "docs", "examples"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.options.default_venv_backend = "venv"

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = [
    c.rpartition(" ")[2]
    for c in PROJECT["project"]["classifiers"]
    if c.startswith("Programming Language :: Python :: 3.")
]
CODE = ["trio_projectx", "tests", "examples", "benchmarks", "load", "noxfile.py", "docs/conf.py"]


#: Two processes: this machine has as many cores.
TWO = ("-n", "2", "--dist", "worksteal")


def install(session: nox.Session, *groups: str, extras: str = "cli") -> None:
    """Install the project and dependency groups; quietly, because a stranger reads this output."""
    wanted = [dep for group in groups for dep in nox.project.dependency_groups(PROJECT, group)]
    session.install("-q", "--disable-pip-version-check", f".[{extras}]", *wanted)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole test suite in two processes. Arguments go to pytest, which is then one process."""
    run_tests(session)


@nox.session(python=PYTHONS)
def tests_all(session: nox.Session) -> None:
    """The test suite on each Python of the classifiers."""
    run_tests(session)


def run_tests(session: nox.Session) -> None:
    """Test the installed package, in the workers too, and not the folder that happens to stand here."""
    install(session, "test")
    session.env["PYTHONSAFEPATH"] = "1"
    session.run("python", "-m", "pytest", *(session.posargs or TWO))


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure what the tests reach, line by line and branch by branch; about half as long again as `tests`."""
    install(session, "test")
    session.env["PYTHONSAFEPATH"] = "1"
    data = Path(session.create_tmp()).resolve() / "coverage"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    session.env["COVERAGE_FILE"] = str(data / ".coverage")
    session.run("python", "-m", "coverage", "run", "--branch", "-m", "pytest", *TWO)
    session.run("coverage", "combine", "--quiet", str(data))
    session.run("coverage", "report", "--skip-covered", "--precision=1", "--fail-under=90")


@nox.session
def interop(session: nox.Session) -> None:
    """Hold the simulator against the official client, and the client against a real ASP.NET Core hub."""
    if not (shutil.which("node") and shutil.which("npm")):
        session.skip("node and npm are not installed, and the official SignalR client needs them")
    install(session, "test")
    kit = Path(session.create_tmp()).resolve() / "kit"
    session.run("python", "tests/interop/kit.py", str(kit))
    missing = json.loads((kit / "kit.json").read_text())["no_client"]
    if missing:
        session.skip(f"the official SignalR client could not be installed: {missing}")
    env = {"TRIO_PROJECTX_INTEROP": str(kit)}
    session.run("python", "-P", "-m", "pytest", "tests/interop", *session.posargs, env=env)


@nox.session
def whole(session: nox.Session) -> None:
    """Take every step and every byte in the sweeps of which the suite takes some."""
    install(session, "test")
    session.env |= {"PYTHONSAFEPATH": "1", "TRIO_PROJECTX_WHOLE": "1"}
    sweeps = ["connection_sweep", "simulator_faults_sweep", "journal_sweep", "gateway", "faults_matrix"]
    sweeps += ["faults_tokens", "history_gap_fill", "gateway_data", "cli_ending"]
    session.run(
        "python", "-m", "pytest", *TWO, *(f"tests/test_{name}.py" for name in sweeps), *session.posargs
    )


@nox.session
def kill(session: nox.Session) -> None:
    """Kill a recording process a thousand times, and look for rows that are missing. Argument: how many times."""
    install(session, "test")
    session.run("python", "tests/journal_kill.py", *(session.posargs or ["1000"]))


@nox.session
def mutation(session: nox.Session) -> None:
    """Change codec, validator and bars in small ways, and see whether tests notice. Arguments: --seed N, --minutes M"""
    install(session, "test")
    session.install("-q", "--disable-pip-version-check", "cosmic-ray==8.7.*")
    session.run("python", "tests/mutation.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Stream live bars from a simulated gateway on loopback. Arguments: --forever, --speed N, --replay FILE."""
    install(session)
    session.run("trio-projectx", "demo", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Run each example as a user would, against a simulator of its own."""
    install(session, "test")
    for example in sorted(Path("examples").glob("*.py")):
        session.run("python", "-P", "-W", "error", str(example))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style: ruff, its formatter, and flake8-async."""
    session.install("-q", "--disable-pip-version-check", *nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)
    session.run("flake8", "trio_projectx", "examples", "benchmarks")


@nox.session
def types(session: nox.Session) -> None:
    """Check types: mypy strict and pyright strict, on the package and on a file that is only type-checked."""
    install(session, "types")
    session.run("mypy", "trio_projectx", "tests/typing")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, and run the code in README and docs."""
    install(session, "docs", "test")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("python", "-P", "-m", "pytest", "-q", "docs", "-p", "no:randomly", "-c", "docs/pytest.ini")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure; one JSON line for each benchmark. Arguments choose benchmarks by name."""
    install(session, "bench")
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def load(session: nox.Session) -> None:
    """Stream 10,000 trades a second, then twice what can be taken. Arguments: PROOF... (or all), --seconds N, ..."""
    prove(session, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Let two virtual days of a market go by, twice, with faults. Arguments: --hours N, --template T, --seed N."""
    prove(session, "soak", *session.posargs)


@nox.session
def endurance(session: nox.Session) -> None:
    """The same in real time, on real sockets, with a fault every twenty seconds. Arguments: --minutes N, --seed N."""
    prove(session, "endurance", *session.posargs)


def prove(session: nox.Session, *arguments: str) -> None:
    """Prove at length what the suite proves briefly: see docs/load.md."""
    install(session, "test")
    session.run("python", "-W", "error", "load/run.py", *arguments)


@nox.session
def sweep(session: nox.Session) -> None:
    """Strike a whole life at each step of the scheduler: see docs/hostile.md. Arguments: --points N, --seeds N, ..."""
    install(session, "test")
    session.install("-q", "--disable-pip-version-check", "trio==0.35.*")  # see load/forks.py
    session.run("python", "-W", "error", "load/sweep.py", *session.posargs)


@nox.session
def model(session: nox.Session) -> None:
    """Live random lives of a gateway, in virtual time: see docs/hostile.md. Arguments: --lives N, --seed N."""
    install(session, "test")
    session.run("python", "-W", "error", "load/model.py", *session.posargs)


@nox.session
def bombs(session: nox.Session) -> None:
    """Measure what each memory bomb costs a client. Arguments: parts of the bombs' names."""
    install(session, "test")
    session.run("python", "-W", "error", "load/bombs.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Try the properties of what comes from outside at length. Arguments: parts of their names, --examples N."""
    install(session, "test")
    session.run("python", "-W", "error", "load/fuzz.py", *session.posargs)
