"""The error of this room: what was wrong, where, and what to do."""

from ..errors import BenchError


class ReportingError(BenchError):
    """A report cannot be executed, rendered or published as asked."""
