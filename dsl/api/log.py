"""The progress of a connection in Python's logging: logger `imq`, warnings and the transfers that begin."""

from __future__ import annotations

from imq.engine.progress import NullProgress
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import logging


class LoggingProgress(NullProgress):
    """Logs warnings (WARNING), remarks (INFO) and the beginning of transfers (INFO).

    Nothing is written unless the program configures a handler, as for any library.
    """

    def __init__(self) -> None:
        self._logger: logging.Logger | None = None

    def begin(self, name: str, total: int) -> None:
        """Log a transfer with its size in bytes; 0: unknown."""
        self._get_logger().info("%s (%s)", name, f"{total} bytes" if total else "unknown size")

    def warn(self, text: str) -> None:
        """Log a warning."""
        self._get_logger().warning("%s", text)

    def note(self, text: str) -> None:
        """Log a remark."""
        self._get_logger().info("%s", text)

    def _get_logger(self) -> logging.Logger:
        if self._logger is None:
            import logging  # most connections log nothing

            self._logger = logging.getLogger("imq")
            if not self._logger.handlers:
                self._logger.addHandler(logging.NullHandler())
        return self._logger
