"""The two error roots of the house. Each error carries a stable code and says what to do next.

``Permanent`` means that trying again changes nothing; ``Transient`` that it may. A code is
``area.reason`` in lower case, for example ``media.no_video_stream``; once published it never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.values import ErrorClass, Failure, Finding


class HeatersError(Exception):
    """Base of both roots; raise one of those, or a subclass of one."""

    error_class: ErrorClass
    code: str = "heaters.error"

    def __init__(self, message: str, *, code: str | None = None, findings: Sequence[Finding] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.findings = tuple(findings)
        if code is not None:
            self.code = code

    def failure(self, stage: str, *, attempts: int = 1, trace_id: str = "") -> Failure:
        """The error as the value that a failure event carries."""
        return Failure(
            stage=stage,
            error_class=self.error_class,
            code=self.code,
            message=self.message[:2000],
            attempts=attempts,
            trace_id=trace_id,
            findings=self.findings[:100],
        )


class Permanent(HeatersError):  # noqa: N818 - a root named for what the caller should do.
    """Trying again changes nothing: the input or the request must change."""

    error_class = ErrorClass.PERMANENT


class Transient(HeatersError):  # noqa: N818 - as above.
    """Trying again later may succeed."""

    error_class = ErrorClass.RETRYABLE


class Cancelled(HeatersError):  # noqa: N818 - as above.
    """The work was withdrawn before it ended."""

    error_class = ErrorClass.CANCELLED
    code = "work.cancelled"
