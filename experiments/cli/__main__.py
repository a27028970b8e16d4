"""`python -m experiments.cli` is `hmarl-soc`."""

import sys

from experiments.cli import main

sys.exit(main())
