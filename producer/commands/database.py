"""``ticketflow db``: the ledger's tables."""

import typer

from producer.commands.output import AsJson, emit

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps ``db migrate`` two words while there is one command."""


@app.command()
def migrate(as_json: AsJson = False) -> None:
    """Bring the ledger's tables up to date; harmless when they are."""
    from config.settings import load_settings
    from jobs.migrate import migrate as run

    revision = run(load_settings().database_url)
    emit(as_json, {"revision": revision}, lambda: print(f"the ledger is at revision {revision}"))
