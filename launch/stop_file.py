"""How a launcher has processes that it cannot signal save and end: by a file that they look for."""

import os
import secrets
import time

_LOOK_SECONDS = 2  # an object store is asked so often, not at every chunk


class StopFile:
    """Call it to ask whether to stop. May be sent to other processes.

    Attributes:
      path: of the file; on a disk that every process sees, or on an object store.
    """

    def __init__(self, directory: str, name: str = ""):
        """There is no file yet; its name is its own unless processes have agreed on one."""
        self.path = os.path.join(directory, f"stop-{name or secrets.token_hex(4)}")
        self._looked_at = 0.0
        self._found = False

    def __call__(self) -> bool:
        from lstm_jax import storage

        if not self._found and time.monotonic() - self._looked_at > _LOOK_SECONDS:
            self._found = storage.read(self.path, 1) is not None
            self._looked_at = time.monotonic()
        return self._found

    def ask(self) -> None:
        """Has all processes stop. Raises OSError if the file cannot be written."""
        from lstm_jax import storage

        if not storage.is_remote(self.path):
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        storage.write(self.path, "")
        self._found = True
