"""`python -m palign_hf.cli`: what the `palign` script does."""

import sys

from palign_hf.cli import main


if __name__ == "__main__":
    sys.exit(main())
