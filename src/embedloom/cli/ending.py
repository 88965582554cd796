"""How a command ends that did not get through: the sentence for the user, and the exit status."""

from __future__ import annotations

from dataclasses import dataclass

from embedloom.errors import EmbedloomError

INTERRUPTED = "interrupted; the same command goes on where this one stopped"
MEMORY = (
    "in training lower train.token_budget and train.graph_tokens (tokens of a pass, and of what is kept for the way "
    "back), elsewhere --max-length; or see what else uses the memory"
)


@dataclass(frozen=True, slots=True)
class Ending:
    """What is said on standard error, and the exit status."""

    sentence: str
    status: int


def ending_of(error: BaseException) -> Ending | None:
    """How a command ends that raised this; None if it is a fault of the program, whose traceback should be seen."""
    if isinstance(error, KeyboardInterrupt):
        return Ending(INTERRUPTED, 130)
    if isinstance(error, EmbedloomError):
        return Ending(f"error: {error}", 2)
    if _is_memory(error):
        said = str(error).split(". ", 1)[0].strip().rstrip(".")
        return Ending(f"error: out of memory{f' ({said})' if said else ''}; {MEMORY}", 2)
    if isinstance(error, OSError) and error.errno is not None and (error.filename or error.strerror):
        where = f"{error.filename}: " if error.filename else ""
        return Ending(f"error: {where}{error.strerror}", 2)
    return None


def _is_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a device or in this process."""
    if isinstance(error, MemoryError):
        return True
    # By its name, since torch need not be there. On a CPU it raises a plain RuntimeError, told by its words alone.
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    )
