"""`python -m vq_lib` is `vq-lib`."""

from vq_lib.cli import main

raise SystemExit(main())
