"""The house's chores, each in an environment of its own: ``nox -s fast``; ``nox -l`` lists them.

`.ci/run` does all that must hold before a change goes in, as a newcomer would.
"""

from pathlib import Path

import nox

nox.options.sessions = ["fast", "lint"]
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ["3.11", "3.12", "3.13"]


def install(session: nox.Session, extra: str) -> None:
    """Install the package from here, with an extra, in the versions that it is tested with."""
    session.install("-c", "constraints.txt", "-e", f".[{extra}]")


@nox.session
def fast(session: nox.Session) -> None:
    """The quick two thirds of the tests."""
    install(session, "test")
    session.run("pytest", "-m", "not slow", *session.posargs)


@nox.session(python=PYTHONS)
def test(session: nox.Session) -> None:
    """All tests, on each Python that is there."""
    install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and which way imports point."""
    install(session, "test")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, every warning an error, into site/."""
    install(session, "docs")
    session.run("mkdocs", "build", "--strict")


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel, built, installed without extras and run in an empty folder."""
    folder = session.create_tmp()
    session.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", f"{folder}/dist", ".")
    session.install("-c", "constraints.txt", *map(str, Path(folder, "dist").glob("*.whl")))
    session.chdir(folder)
    session.run("attnprobe", "run", "diffseg", "-o", "out", "--quiet")


@nox.session(python=PYTHONS[0], venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The quick tests with the oldest versions that pyproject.toml admits; needs uv."""
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", "-m", "not slow", *session.posargs)
