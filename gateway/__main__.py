"""`python -m gateway`: the command line without its console script."""

import sys

from gateway.cli import main

sys.exit(main())
