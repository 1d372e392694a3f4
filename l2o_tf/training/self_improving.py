"""Self-improving: analytical rules take some of the steps at first, and fewer and fewer.

Source: paper section 4.2. All rules start with equal probabilities; those of the analytical rules
decay linearly to zero over a number of epochs, after which training is as usual.
"""


def analytical_share(epoch: int, num_epochs: int, equal_share: float) -> float:
    """The probability that a step of an epoch is an analytical rule's.

    Args:
        epoch: epochs trained so far.
        num_epochs: the number of epochs over which the share decays; 0 for no self-improving.
        equal_share: the share with which all rules are equally likely.
    """
    if epoch >= num_epochs:
        return 0.0
    return equal_share * (1 - epoch / num_epochs)
