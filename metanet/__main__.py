"""``python -m metanet``."""

import sys

from metanet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
