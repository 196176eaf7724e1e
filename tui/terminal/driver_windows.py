"""Textual's driver for consoles of Windows, with a reader of keys that goes on after an error."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from textual.drivers import win32
    from textual.drivers.windows_driver import WindowsDriver

    class SteadyMonitor(win32.EventMonitor):
        """Textual's ends at the first error, half a surrogate for instance, and then the app is deaf."""

        def run(self) -> None:
            """Read until the app ends."""
            while not self.exit_event.is_set():
                super().run()

    class SteadyConsole(WindowsDriver):
        """Puts its own monitor in the place of Textual's."""

        def start_application_mode(self) -> None:
            """Enter the alternate screen and begin to read."""
            theirs = win32.EventMonitor
            win32.EventMonitor = SteadyMonitor  # type: ignore[misc]
            try:
                super().start_application_mode()
            finally:
                win32.EventMonitor = theirs  # type: ignore[misc]
