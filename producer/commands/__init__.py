"""The ``ticketflow`` command."""


def main() -> None:
    """x"""
