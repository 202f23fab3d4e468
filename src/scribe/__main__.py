"""Run the command `scribe` as `python -m scribe`."""

import sys

from scribe.app import main

if __name__ == "__main__":
    sys.exit(main())
