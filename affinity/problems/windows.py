"""Windows of time: earlier test rows, with only the rows before them for training."""

LEAST_KNOWN = 0.5


def windows(count: int, test_share: float) -> list[float]:
    """The share of the rows, ordered by time, that each of `count` splits may use.

    Of what is known the latest rows are the test rows, a share of `test_share`. Windows follow each
    other without a gap where this leaves half of the rows to the earliest draw; else they overlap.

    References:
        Tashman (2000), Out-of-sample Tests of Forecasting Accuracy: rolling origins.
    """
    apart = [(1 - test_share) ** draw for draw in range(count)]
    if apart[-1] >= LEAST_KNOWN:
        return apart
    return [1 - (1 - LEAST_KNOWN) * draw / (count - 1) for draw in range(count)]
