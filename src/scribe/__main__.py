"""`python -m scribe` is the command `scribe`."""

import sys

from scribe.app import main

if __name__ == "__main__":
    sys.exit(main())
