"""What ROCm's tool prints."""

from pathlib import Path

import pytest

from core.devices.amd_tool import ask_amd_tool, read_amd_cards
from core.devices.device import Backend, Device, DeviceKind
from tests.fakes.devices import put_program

PRINTED = """WARNING: AMD GPU device(s) is/are in a low-power state.
{"card0": {"GPU use (%)": "12", "VRAM Total Memory (B)": "1000", "VRAM Total Used Memory (B)": "400",
"PCI Bus": "0000:C1:00.0", "Card Series": "Radeon Pro W7900"}, "card1": {"GPU use (%)": "N/A"}}"""
CARD = Device("Radeon Pro W7900", DeviceKind.CARD, 1000, 600, backend=Backend.ROCM, load=12.0, address="0000:c1:00.0")


def test_cards_are_read_off_what_the_tool_prints() -> None:
    assert read_amd_cards(PRINTED) == (CARD,)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"card0": 3}', "No AMD GPUs specified", '{"system": {"a": {}}}'])
def test_what_is_no_list_of_cards_tells_of_none(text: str) -> None:
    assert read_amd_cards(text) == ()


@pytest.mark.parametrize(("script", "cards"), [("cat <<'E'\n" + PRINTED + "\nE", (CARD,)), ("exit 3", ())])
def test_the_tool_is_asked_where_it_is(
    script: str, cards: tuple[Device, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_program(tmp_path, "rocm-smi", script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert ask_amd_tool() == cards
