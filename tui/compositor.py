"""A compositor that paints over what has gone from the screen.

Textual's compares the map of all widgets with the map before to find out what to paint. When a widget that is out of
sight is drawn anew, it replaces the map without that comparison, and a toast that ended in the same moment stays.
"""

from __future__ import annotations

from textual._compositor import Compositor, CompositorMap


class ThoroughCompositor(Compositor):
    """Paints what differs between two maps, however the later one came about."""

    @property
    def full_map(self) -> CompositorMap:
        before, scrolled = self._full_map, self._visible_map is not None
        now = super().full_map
        if now is not before and not scrolled:
            # What was scrolled was compared by Textual, and is painted.
            changes = [geometry.clip.intersection(geometry.region) for _, geometry in now.items() ^ before.items()]
            self._dirty_regions.update(region for region in changes if region)
        return now
