"""Self-improving: analytical rules take some of the steps at first, and fewer and fewer.

Source: paper section 4.2. All rules start with equal probabilities, 1/4 for the learned one and
each of three analytical ones (in section 5.3 those start with 0.33 each); those of the analytical
rules decay linearly to zero over a number of epochs, after which training is as usual.
"""


def analytical_share(epoch: int, num_epochs: int, first_share: float) -> float:
    """The probability that a step of an epoch is an analytical rule's.

    Args:
        epoch: epochs trained so far.
        num_epochs: the number of epochs over which the share decays; 0 for no self-improving.
        first_share: that of the first epoch, such as the one with which all rules are equally
            likely.
    """
    if epoch >= num_epochs:
        return 0.0
    return first_share * (1 - epoch / num_epochs)
