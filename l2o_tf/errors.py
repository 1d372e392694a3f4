"""The one error that the command lines show to the user."""


class InputError(ValueError):
    """Bad input: a flag, a file, a checkpoint or data that cannot be used.

    The message is one line that says what is wrong and what to do about it; command lines print
    it without a traceback and exit with code 2.
    """
