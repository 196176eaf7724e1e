"""Widgets that are laid out once where they get another size.

Textual lays the whole screen out again when a layout has told a widget that it has grown, for the sake of those whose
place depends on that. A text that grows by a line several times a second would cost twice what it must.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.geometry import Size

if TYPE_CHECKING:
    from textual.widget import Widget as _Base
else:
    # A widget inherits its style and whether it takes the focus from its first base that is one.
    _Base = object


class SettledSize(_Base):
    """To be put before the class of a widget whose size nothing else is laid out by. Scrollbars that come and go still
    have it laid out."""

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:
        return super()._size_updated(size, virtual_size, container_size, layout=False)
