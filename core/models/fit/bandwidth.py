"""How fast memories are by their makers' data sheets: decoding a token reads all the weights it uses once, so this
bounds how many come in a second.

The numbers are those of the makers' data sheets, in GB/s. Of chips that are sold with several memories under one name
it is that of the fastest, since what is told by it is a bound.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

GIGA_BYTES: Final = 1_000_000_000
HOST_GIGABYTES: Final = 50.0
"""GB/s of main memory where nothing tells: two channels of DDR4-3200 have 51.2."""
CHIPS_GIGABYTES: Final[dict[str, float]] = {
    # NVIDIA, data centres and workstations
    "b200": 8000,
    "h200": 4800,
    "h100": 2000,
    "h100 80gb hbm3": 3350,
    "h100 nvl": 3900,
    "a100": 1555,
    "a100-sxm4-80gb": 2039,
    "a100 80gb pcie": 1935,
    "l40s": 864,
    "l40": 864,
    "l4": 300,
    "a10": 600,
    "a10g": 600,
    "tesla t4": 320,
    "tesla v100": 900,
    "tesla p100": 732,
    "tesla p40": 346,
    "rtx pro 6000 blackwell": 1792,
    "rtx pro 6000 blackwell max-q": 1792,
    "rtx pro 6000 blackwell server": 1597,
    "rtx 6000 ada": 960,
    "rtx 5000 ada": 576,
    "rtx 4000 ada": 360,
    "rtx a6000": 768,
    "rtx a5000": 768,
    "rtx a4000": 448,
    "gb10": 273,
    # NVIDIA, GeForce
    "rtx 5090": 1792,
    "rtx 5080": 960,
    "rtx 5070 ti": 896,
    "rtx 5070": 672,
    "rtx 5060 ti": 448,
    "rtx 5060": 448,
    "rtx 4090": 1008,
    "rtx 4080 super": 736,
    "rtx 4080": 717,
    "rtx 4070 ti super": 672,
    "rtx 4070 ti": 504,
    "rtx 4070 super": 504,
    "rtx 4070": 504,
    "rtx 4060 ti": 288,
    "rtx 4060": 272,
    "rtx 3090 ti": 1008,
    "rtx 3090": 936,
    "rtx 3080 ti": 912,
    "rtx 3080": 912,
    "rtx 3070 ti": 608,
    "rtx 3070": 448,
    "rtx 3060 ti": 608,
    "rtx 3060": 360,
    "rtx 3050": 224,
    "rtx 2080 ti": 616,
    "rtx 2080 super": 496,
    "rtx 2080": 448,
    "rtx 2070": 448,
    "rtx 2060 super": 448,
    "rtx 2060": 336,
    "gtx 1080 ti": 484,
    "gtx 1080": 352,
    "gtx 1070": 256,
    "rtx 4090 laptop": 576,
    "rtx 4080 laptop": 432,
    "rtx 4070 laptop": 256,
    "rtx 4060 laptop": 256,
    # AMD
    "mi300x": 5300,
    "mi210": 1638,
    "radeon pro w7900": 864,
    "rx 9070 xt": 640,
    "rx 9070": 640,
    "rx 7900 xtx": 960,
    "rx 7900 xt": 800,
    "rx 7900 gre": 576,
    "rx 7800 xt": 624,
    "rx 7700 xt": 432,
    "rx 7600 xt": 288,
    "rx 7600": 288,
    "rx 6900 xt": 512,
    "rx 6800 xt": 512,
    "rx 6800": 512,
    "rx 6700 xt": 384,
    "rx 6600 xt": 256,
    "rx 6600": 224,
    "radeon 8060s": 256,
    # Intel
    "arc a770": 560,
    "arc a750": 512,
    "arc b580": 456,
    "arc b570": 380,
    # Apple
    "apple m1": 68,
    "apple m1 pro": 200,
    "apple m1 max": 400,
    "apple m1 ultra": 800,
    "apple m2": 100,
    "apple m2 pro": 200,
    "apple m2 max": 400,
    "apple m2 ultra": 800,
    "apple m3": 100,
    "apple m3 pro": 150,
    "apple m3 max": 400,
    "apple m3 ultra": 819,
    "apple m4": 120,
    "apple m4 pro": 273,
    "apple m4 max": 546,
}
"""By a part of the names that drivers give them, in small letters."""
PORTABLE: Final = re.compile(r"laptop|mobile|max-q")


@cache
def find_bandwidth(name: str) -> float:
    """Bytes a second of the memory of a card or chip that is called so; zero where it is not in the table."""
    said = re.sub(r"\((?:r|tm)\)", "", name.lower())
    portable = PORTABLE.search(said) is not None
    found = [
        key
        for key in CHIPS_GIGABYTES
        if re.search(rf"(?<![\w-]){re.escape(key)}(?![\w])", said) and (PORTABLE.search(key) is not None) == portable
    ]
    return CHIPS_GIGABYTES[max(found, key=len)] * GIGA_BYTES if found else 0.0
