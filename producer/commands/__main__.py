"""``python -m producer.commands``: the command where no script is installed."""

from producer.commands import main

main()
