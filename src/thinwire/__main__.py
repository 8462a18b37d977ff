"""Run the ``thinwire`` command with ``python -m thinwire``."""

from thinwire.cli.main import main

main()
