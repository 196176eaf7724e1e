"""Where the server listens and whom it lets in, to be edited."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, final

from msgspec import Struct
from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label

from core.hosts import is_loopback, parse_host
from core.settings.keys import check_key
from core.settings.merge import Key
from core.settings.schema import ServerSettings, read_origin
from tui.widgets.plain import Plain

MOST_PORT_INDEX: Final = 65_535


class WrongField(ValueError):
    """What is written in a field will not do; the words are a sentence."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class AddressForm(Struct, frozen=True):
    """What stands in the fields."""

    host: str
    port: str
    key: str
    """Empty for none."""
    origins: str
    """With commas between them."""

    @classmethod
    def of(cls, server: ServerSettings) -> AddressForm:
        key = next(iter(server.api_keys), "")
        return cls(server.host, str(server.port), key, ", ".join(server.cors_origins))

    def read_over(self, base: ServerSettings) -> ServerSettings:
        """`base` with what is written here. The field for the key is about its first one. Raises WrongField."""
        try:
            host = parse_host(self.host)
        except ValueError as error:
            raise WrongField("host", f"Address: {error}.") from error
        port = self.port.strip()
        if not (port.isascii() and port.isdecimal() and int(port) <= MOST_PORT_INDEX):
            raise WrongField("port", "Port: write a number from 1 to 65535, or 0 for a free one.")
        origins = tuple(part for each in self.origins.split(",") if (part := each.strip()))
        for origin in origins:
            if (meant := read_origin(origin)) != origin:
                raise WrongField("origins", f"CORS: {origin!r} is no origin as browsers send it; write {meant}.")
        return replace(base, host=host, port=int(port), cors_origins=origins, api_keys=self._read_keys(base))

    def _read_keys(self, base: ServerSettings) -> tuple[str, ...]:
        others = base.api_keys[1:]
        if not self.key.strip():
            return others
        try:
            key = check_key(self.key)
        except ValueError as error:
            raise WrongField("key", f"API key: {error}.") from error
        return (key, *(other for other in others if other != key))


class ServerChange(Struct, frozen=True):
    """What the user wants."""

    server: ServerSettings
    keep: bool
    """Whether it is to stand in the config file, too."""


def list_changes(before: ServerSettings, after: ServerSettings) -> dict[Key, object]:
    """What differs, as the config file has it."""
    fields = ("host", "port", "api_keys", "cors_origins")
    return {("server", each): getattr(after, each) for each in fields if getattr(before, each) != getattr(after, each)}


@final
class AddressDialog(ModalScreen[None]):
    """Stays open until what is written will do."""

    BINDINGS = [
        ("escape", "dismiss", "Leave it"),
        ("ctrl+s", "accept(True)", "Write to the config"),
        ("down", "app.focus_next", "Next"),
        ("up", "app.focus_previous", "Before"),
    ]

    def __init__(
        self, server: ServerSettings, form: AddressForm, file: str, accept: Callable[[ServerChange], object]
    ) -> None:
        """`server`: the settings in force; `form`: what the fields show first; `file`: the config file, as it is
        told."""
        super().__init__()
        self._server = server
        self._form = form
        self._file = file
        self._accept = accept

    def compose(self) -> ComposeResult:
        form = self._form
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "server"
            dialog.border_subtitle = "enter applies, ctrl+s keeps it in the config too, escape leaves it"
            yield from _field("address", "host", form.host, "127.0.0.1")
            yield from _field("port", "port", form.port, "0 takes a free one")
            yield from _field("API key", "key", form.key, "none", secret=True)
            yield from _field("CORS", "origins", form.origins, "none; https://app.example, localhost, *")
            yield Plain(id="consequence", classes="hint")
            yield Plain(classes="problem")
            yield Plain(f"The config file is {self._file}.", classes="hint")

    def on_mount(self) -> None:
        self._tell()

    @on(Input.Changed)
    def _tell(self) -> None:
        self.query_one("#consequence", Plain).update(" ".join(self._list_consequences()))
        self.query_one(".problem", Plain).update("")

    def _list_consequences(self) -> Iterator[str]:
        try:
            server = self._read().read_over(self._server)
        except WrongField:
            return
        away = not is_loopback(server.host)
        if away:
            yield "Other machines can reach it."
        if server.api_key_file:
            yield "The keys of the file of keys open it."
        elif server.api_keys:
            yield "Clients must send the API key."
        elif away:
            yield "A key is made, since none is given."
        else:
            yield "No key is needed, from this machine alone."
        if "*" in server.cors_origins:
            yield "Any web page may call it."

    def _read(self) -> AddressForm:
        return AddressForm(*(self.query_one(f"#{name}", Input).value for name in AddressForm.__struct_fields__))

    @on(Input.Submitted)
    def _submit(self) -> None:
        self.action_accept(False)

    def action_accept(self, keep: bool) -> None:
        try:
            server = self._read().read_over(self._server)
        except WrongField as error:
            self.query_one(".problem", Plain).update(str(error))
            self.query_one(f"#{error.field}").focus()
            return
        self.dismiss()
        self._accept(ServerChange(server, keep))


def _field(label: str, name: str, value: str, placeholder: str, *, secret: bool = False) -> ComposeResult:
    with Horizontal(classes="field"):
        yield Label(label)
        yield Input(value, placeholder=placeholder, password=secret, id=name, select_on_focus=False)
