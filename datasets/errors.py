"""The exceptions a user can meet; everything else is a bug or the machine's own error."""


class InputError(ValueError):
    """What was given can't be used: a file, a table, an option. Nothing was changed. CLI exit code 2."""


class StateError(RuntimeError):
    """What lies in the lake can't be used: damaged, missing or made by another encoder. CLI exit code 1."""


class GateError(StateError):
    """What was made did not pass its checks; made again it would not either. CLI exit code 1."""
