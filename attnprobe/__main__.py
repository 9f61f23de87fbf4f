"""`python -m attnprobe`."""

from attnprobe.cli import main

main()
