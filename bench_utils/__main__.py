"""``python -m bench_utils``: the same as ``bench-utils``."""

from .cli import main

main()
