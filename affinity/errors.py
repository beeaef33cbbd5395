"""What can go wrong, as types: bad input, and a training that diverged."""


class InputError(ValueError):
    """What was passed in cannot be used; the message says what was expected and what to do."""


class DivergenceError(ArithmeticError):
    """A loss became NaN or infinite; the message names the task and the step."""
