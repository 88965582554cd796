"""One tree of errors that a user can mend. Each message says what was wrong, what was expected and what to do."""

from __future__ import annotations

import os


class EmbedloomError(ValueError):
    """Root of every error that is the input's fault, not the program's. The command line prints it and exits with 2."""


class RecipeError(EmbedloomError):
    """A recipe that can't be read: an unknown key, a wrong type, a value out of range."""


class DataError(EmbedloomError):
    """A data file that can't be used, with its path and, where there is one, its line.

    Args:
        message: what was wrong and what was expected.
        path: the file.
        line: the line, counted from 1.
    """

    def __init__(self, message: str, path: str | os.PathLike[str] | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{os.fspath(path)}{'' if line is None else f':{line}'}: "
        super().__init__(where + message)
        self.path = path
        self.line = line


class ModelError(EmbedloomError):
    """A model that can't be found, opened or used for what was asked."""


class ContractError(ModelError):
    """A checkpoint whose tokenizer no longer gives the token ids that it was trained with."""


class FingerprintError(ModelError):
    """Vectors of one model met vectors of another."""


class RunError(EmbedloomError):
    """A run folder that can't be used: locked by another process, or made by another recipe."""


class MissingExtraError(EmbedloomError):
    """An optional package is absent.

    Args:
        package: the import or distribution name that is missing.
        extra: the extra of embedloom that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'embedloom[{extra}]'")
        self.package = package
        self.extra = extra
