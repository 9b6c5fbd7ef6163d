"""The ``ticketflow`` command. Modules of commands load what they need inside each command, so that help is quick."""

import os
import sys

import typer

from config.errors import TicketflowError
from producer.commands import (
    batch_results,
    batches,
    checks,
    database,
    job_selection,
    job_upkeep,
    jobs,
    provider_checks,
    provider_files,
    providers,
    quotes,
    report,
    stack,
)
from producer.commands.output import note, print_error

app = typer.Typer(
    name="ticketflow",
    help="TicketFlow: AI jobs for support teams, each recorded once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
stack.register(app)
provider_checks.register(providers.app)
provider_files.register(providers.app)
app.add_typer(providers.app, name="providers", help="The providers that jobs may name, and their keys.")
jobs.register(app)
job_selection.register(jobs.app)
job_upkeep.register(jobs.app)
app.add_typer(jobs.app, name="jobs", help="Jobs, one by one or by what they have in common.")
batch_results.register(batches.app)
quotes.register(batches.app)
app.add_typer(batches.app, name="batch", help="Many jobs at once.")
app.add_typer(report.app, name="report", help="What the work has cost.")
checks.register(app)
app.add_typer(database.app, name="db", help="The ledger's tables.")


def main() -> None:
    """Runs the command; exit status 0 done, 1 the work failed, 2 the call was wrong, 3 a service cannot be reached."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    try:
        app(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    except TicketflowError as error:
        print_error(error, "--json" in arguments)
        return error.exit_status
    except Exception as error:
        if os.environ.get("TICKETFLOW_LOG_LEVEL") == "DEBUG":
            raise
        note(f"error: a fault of ours ({type(error).__name__}); TICKETFLOW_LOG_LEVEL=DEBUG shows where")
        return 1
    return 0
