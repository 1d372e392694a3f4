"""What the command lines show to the user without a traceback."""


class InputError(ValueError):
    """Bad input: a flag, a file, a checkpoint or data that cannot be used.

    The message is one line that says what is wrong and what to do about it; command lines print
    it without a traceback and exit with code 2.
    """


class Interrupted(Exception):
    """Ctrl-C or SIGTERM, after the work that was done has been saved.

    The message says what is kept and how to go on; command lines print it and exit with code 130.
    """
