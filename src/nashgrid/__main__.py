"""``python -m nashgrid`` is the command ``nashgrid``."""

import sys

from nashgrid.cli import main

if __name__ == "__main__":
    sys.exit(main())
