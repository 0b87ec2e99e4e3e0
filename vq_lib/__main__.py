"""`python -m vq_lib` is `vq-lib`."""

import sys

from vq_lib.cli import main

sys.exit(main())
