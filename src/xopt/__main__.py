"""``python -m xopt``."""

from xopt.cli import main

main()
