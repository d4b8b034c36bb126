"""``python -m xopt.cli``."""

from xopt.cli.app import main

main()
