"""`papermill --engine bench`: an engine that survives a dead kernel and tells the truth about it.

Registered with papermill by its entry point, and by importing this module.
"""


def __getattr__(name: str) -> object:
    """Answer papermill, which loads this entry point while it is itself being imported from below."""
    if name == "ReportEngine":
        from .managed import ReportEngine

        return ReportEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


from papermill.engines import papermill_engines  # noqa: E402

from .managed import ReportEngine  # noqa: E402

ENGINE = "bench"

papermill_engines.register(ENGINE, ReportEngine)
