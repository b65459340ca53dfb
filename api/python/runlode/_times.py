"""Times of the store as datetimes."""

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def datetime_of_ms(ms):
    """A time in Unix ms as a datetime in UTC; unchanged if it is beyond the years of datetimes."""
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return ms
