"""`python -m ecglm.cli`, for launchers of several processes."""

from ecglm.cli import main

main()
