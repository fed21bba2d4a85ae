"""``python -m sensorium``."""

from sensorium.cli import main

raise SystemExit(main())
