"""The two ways in which a run fails."""


class Unusable(Exception):
    """The machine or the command line does not allow it: exit 69."""


class WrongOutcome(Exception):
    """Mail was lost, came twice or was refused: no figure of such a run is worth anything. Exit 1."""
