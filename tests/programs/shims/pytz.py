"""What the samples use of pytz, which Python has had itself since 3.2."""

from datetime import timezone

utc = UTC = timezone.utc  # noqa: UP017
