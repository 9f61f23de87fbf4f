"""The commands to look at runs with: `view`, `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.root import app
from attnprobe.cli.terminal import Debug, quieten, told
from attnprobe.errors import RunError
from attnprobe.extras import extra


@app.command()
def view(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="A run's folder, or two to compare.")
    ],
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Where; 0 takes a free one.")
    ] = 8765,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Whom to serve; by default this machine alone.")
    ] = "127.0.0.1",
    debug: Debug = False,
) -> None:
    """Look at a run, or at two side by side, in the browser."""
    with told(debug):
        if len(runs) > 2:
            raise RunError(f"view: one run, or two to compare. Got {len(runs)} instead.")
        quieten(debug)
        from attnprobe.view.report_run import ShownRun

        with extra("view", "attnprobe view"):
            from attnprobe.view.server.serve import serve

        serve([ShownRun.load(run) for run in runs], host, port)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where; by default RUN/report.html."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a run's report anew: one page that needs no other file."""
    with told(debug):
        quieten(debug)
        from attnprobe.view.report import write_report

        print(write_report(run, output))
