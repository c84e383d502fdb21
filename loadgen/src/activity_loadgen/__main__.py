"""`python -m activity_loadgen`."""

from activity_loadgen.cli import main

main()
