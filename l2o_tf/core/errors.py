"""What the command lines show to the user without a traceback."""

_MAX_REASON = 300  # Characters.


class InputError(ValueError):
    """Bad input: a flag, a file, a checkpoint or data that cannot be used.

    The message is one line that says what is wrong and what to do about it; command lines print
    it without a traceback and exit with code 2.
    """


class Interrupted(Exception):
    """Ctrl-C or SIGTERM, after the work that was done has been saved.

    The message says what is kept and how to go on; command lines print it and exit with code 130.
    """


def reason(error: BaseException, typed: bool = False) -> str:
    """What an exception of other code says, as one line that is not too long.

    Args:
        error: the exception.
        typed: whether its type goes before, without which the message of code that may raise
            anything can mean little; it stands alone where there is no message.
    """
    message = " ".join(str(error).split())
    name = [type(error).__name__] if typed or not message else []
    return ": ".join([*name, *filter(None, [message])])[:_MAX_REASON]
