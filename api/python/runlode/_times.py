"""Times of the store as datetimes, and the other way round."""

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def datetime_of_ms(ms):
    """A time in Unix ms as a datetime in UTC; unchanged if it is beyond the years of datetimes."""
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return ms


def ms_of(name, value):
    """The Unix ms of a datetime of Python, pandas or NumPy, rounded down; None if it is no datetime. Without a time zone
    it is local time, in NumPy's UTC. Raises ValueError for NaT.
    """
    if isinstance(value, datetime):
        if value != value:  # NaT of pandas
            raise ValueError(f"{name}: NaT is no time")
        if hasattr(value, "to_pydatetime"):  # pandas
            value = value.to_pydatetime(warn=False)
        aware = value if value.tzinfo is not None else value.astimezone()
        return (aware - _EPOCH) // timedelta(milliseconds=1)
    if type(value).__name__ == "datetime64":
        ms = value.astype("datetime64[ms]")
        if ms != ms:
            raise ValueError(f"{name}: NaT is no time")
        return int(ms.astype("int64"))
    return None
