"""What a user writes for a model, and what it is taken for."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import ModelNotFound
from core.names import (
    Alias,
    BuiltIn,
    HubName,
    LocalPath,
    Name,
    Server,
    Unknown,
    are_same,
    list_near_names,
    parse_asked,
    parse_name,
)

ALIASES = {"gemma-4b", "phi-4-mini", "deepseek-r1:7b", "deepseek-r1"}

READINGS: list[tuple[str, Name]] = [
    ("guide", BuiltIn("guide")),
    ("echo", BuiltIn("echo")),
    ("phi-4-mini", Alias("phi-4-mini")),
    ("Phi-4-Mini", Alias("phi-4-mini")),
    ("gemma-4b:8bit", Alias("gemma-4b", "8bit")),
    ("gemma-4b:Q6_K", Alias("gemma-4b", "Q6_K")),
    ("deepseek-r1:7b", Alias("deepseek-r1:7b")),
    ("deepseek-r1:7b:8bit", Alias("deepseek-r1:7b", "8bit")),
    ("deepseek-r1:4bit", Alias("deepseek-r1", "4bit")),
    ("owner/repo", HubName("owner/repo")),
    ("owner/repo/", HubName("owner/repo")),
    ("owner/repo:Q4_K_M", HubName("owner/repo", label="Q4_K_M")),
    ("owner/repo/sub/file.gguf", HubName("owner/repo", file="sub/file.gguf")),
    ("owner/repo@v1.0", HubName("owner/repo", revision="v1.0")),
    ("owner/repo@v1.0:Q8_0", HubName("owner/repo", "Q8_0", revision="v1.0")),
    ("owner/repo@v1.0/a.gguf", HubName("owner/repo", file="a.gguf", revision="v1.0")),
    ("owner/repo@refs%2Fpr%2F1", HubName("owner/repo", revision="refs/pr/1")),
    ("owner/repo@refs/pr/1", HubName("owner/repo", revision="refs/pr/1")),
    ("owner/repo@refs/pr/1:Q4_K_M", HubName("owner/repo", "Q4_K_M", revision="refs/pr/1")),
    ("owner/repo@refs/pr/12/a/b.gguf", HubName("owner/repo", file="a/b.gguf", revision="refs/pr/12")),
    ("owner/repo@refs/pr/1x", HubName("owner/repo", file="pr/1x", revision="refs")),
    ("https://hf.co/owner/repo/tree/refs%2Fpr%2F1/sub", HubName("owner/repo", file="sub", revision="refs/pr/1")),
    ("https://hf.co/owner/repo/blob/refs/pr/1/a.gguf", HubName("owner/repo", file="a.gguf", revision="refs/pr/1")),
    ("https://hf.co/owner/repo/tree/main/UD-Q4_K_XL", HubName("owner/repo", file="UD-Q4_K_XL")),
    ("hf.co/owner/repo:Q4_K_M", HubName("owner/repo", "Q4_K_M")),
    ("https://huggingface.co/owner/repo", HubName("owner/repo")),
    ("https://huggingface.co/owner/repo?library=gguf#usage", HubName("owner/repo")),
    ("https://huggingface.co/owner/repo/tree/main", HubName("owner/repo")),
    ("https://hf.co/owner/repo/tree/v1/sub", HubName("owner/repo", file="sub", revision="v1")),
    (
        "https://huggingface.co/owner/repo/blob/main/a%20b/x.gguf?download=true",
        HubName("owner/repo", file="a b/x.gguf"),
    ),
    ("./x", LocalPath("./x")),
    ("../x", LocalPath("../x")),
    ("~/x", LocalPath("~/x")),
    ("/a/b/c", LocalPath("/a/b/c")),
    ("C:\\models\\x", LocalPath("C:\\models\\x")),
    ("x.gguf", LocalPath("x.gguf")),
    ("folder/x.gguf", LocalPath("folder/x.gguf")),
    ("http://localhost:8000", Server("http://localhost:8000")),
    ("https://example.org/v1#m", Server("https://example.org/v1#m")),
    ("llama", Unknown("llama")),
    ("localhost:8000", Unknown("localhost:8000")),
]

REFUSED = [
    "",
    "   ",
    "a\0b.gguf",
    "owner/repo/../../x.gguf",
    "owner/../repo",
    "owner/repo/%2e%2e/x.gguf",
    "owner/repo/%252e%252e/x.gguf",
    "owner/repo/a\\b.gguf",
    "owner/repo//x.gguf",
    "owner/repo/C:/x.gguf",
    "owner/repo@../x",
    "owner/repo@a%00b",
    "owner\\repo",
    "owner/repo:",
    "owner/repo@",
    "owner/re--po",
    "-owner/repo",
    "https://huggingface.co/datasets/owner/repo",
    "https://huggingface.co/owner",
    "https://huggingface.co/owner/repo/blob/main/../../x",
    "x" * 5000,
]


@pytest.mark.parametrize(("text", "meant"), READINGS, ids=[text for text, _ in READINGS])
def test_a_name_is_taken_for_what_its_form_says(text: str, meant: Name) -> None:
    assert parse_name(text, ALIASES) == meant


@pytest.mark.parametrize("text", REFUSED)
def test_what_no_model_can_be_called_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        parse_name(text, ALIASES)
    said = str(caught.value)
    assert said.endswith(".")
    assert len(said) < 500
    assert "\0" not in said


def test_a_path_that_is_there_goes_before_a_repository_and_the_name_says_so() -> None:
    name = parse_name("owner/repo", ALIASES, exists=lambda path: path == "owner/repo")
    assert name == LocalPath("owner/repo", hides=HubName("owner/repo"))
    assert parse_name("./x", exists=lambda _: True) == LocalPath("./x")


def test_a_built_in_model_goes_before_a_file_of_its_name() -> None:
    assert parse_name("guide", exists=lambda _: True) == BuiltIn("guide")


PIECES = st.sampled_from(
    [
        *("/", "@", ":", ".", "..", "\\", "%2e", "%", "~", "#", "?", "[", " ", "\u00e9", "owner", "repo", "a.gguf"),
        *(
            "refs/pr/1",
            "@refs/pr/2",
            "hf.co/",
            "https://",
            "huggingface.co/",
            "tree/",
            "main",
            "Q4_K_M",
            *sorted(ALIASES),
        ),
    ]
)


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=8).map("".join) | st.text())
@example("hf.co/hf.co/owner")
@example("owner/a.gguf/")
def test_any_text_is_read_or_refused_and_a_name_written_out_means_the_same(text: str) -> None:
    try:
        name = parse_name(text, ALIASES)
    except ModelNotFound:
        return
    assert parse_name(str(name), ALIASES) == name
    if isinstance(name, HubName) and name.file is not None:
        assert ".." not in name.file.split("/")
        assert not name.file.startswith("/")
        assert "\\" not in name.file


BLANKS = st.text(st.characters(categories=("Zs", "Zl", "Zp", "Cc", "Cf")), min_size=1, max_size=4)
"""All kinds of blanks, controls, a BOM, what has no width."""
FOREIGN = [
    *("/some/path.gguf", "//host/share", "~/x", "~root/x", "./x", "../../etc/passwd", ".", "..", "x.gguf"),
    *("\\\\host\\share", "C:\\models\\x", "c:/x", "C:", ".\\x", "file.GGUF", "folder/x.safetensors"),
    *("http://127.0.0.1:1", "HTTP://127.0.0.1:1", "hTTps://example.org/v1#m", "http://user:word@host"),
    *("http:/\\127.0.0.1", "http:127.0.0.1", "http:\\\\127.0.0.1", "file:///etc/passwd", "file:/etc/passwd"),
    *("ftp://host/x", "hf://../../x", "hf://owner", "https://huggingface.co@evil.example/owner/repo"),
    *("%2e%2e/x", "owner/repo/%2e%2e/x", "%2fetc/passwd", "http%3A//host", "ht\ttp://host", "http\n://host"),
    *("http\u200b://host", "/etc\0/passwd", "a\udcffb", "owner/re\u2028po"),
    *("\uff48\uff54\uff54\uff50://host", "\uff48\uff54\uff54\uff50\uff1a//host", "http\uff1a//host"),
]
"""What a client may not have meant to be a place, however it is written."""


def read(text: str) -> Name | None:
    try:
        return parse_name(text, ALIASES)
    except ModelNotFound:
        return None


def asked(text: str) -> Name | None:
    try:
        return parse_asked(text, ALIASES)
    except ModelNotFound:
        return None


@pytest.mark.parametrize("text", FOREIGN)
def test_a_client_names_no_place(text: str) -> None:
    for blank in ("", " ", "\t", "\u00a0", "\u3000", "\u200b", "\ufeff", "\r\n", "\0", "\u202e"):
        for written in (blank + text, text + blank, blank + text + blank):
            # A word that is known to nobody is looked for among the names of models alone.
            assert isinstance(asked(written), Unknown | None)


@settings(max_examples=500)
@given(st.lists(PIECES | BLANKS | st.sampled_from(FOREIGN), max_size=6).map("".join) | st.text())
def test_whatever_a_client_writes_is_never_a_path_and_never_a_server(text: str) -> None:
    name = asked(text)
    assert name is None or isinstance(name, BuiltIn | HubName | Alias | Unknown)
    if name is None:
        return
    # The user may mean a path by the same words; what a client is given is then nothing that opens one.
    again = read(str(name))
    assert again == name
    assert not isinstance(again, LocalPath | Server)


@settings(max_examples=300)
@given(BLANKS, st.lists(PIECES, min_size=1, max_size=6).map("".join), BLANKS)
def test_blanks_around_a_name_mean_nothing_at_either_door(before: str, text: str, after: str) -> None:
    assert read(before + text + after) == read(text)
    assert asked(before + text + after) == asked(text)


@given(st.lists(PIECES, max_size=6).map("".join))
def test_a_client_means_by_a_name_what_the_user_means_by_it(text: str) -> None:
    assert asked(text) == (None if isinstance(meant := read(text), LocalPath | Server) else meant)


def test_a_file_whose_name_ends_in_a_blank_is_opened_by_the_user_alone() -> None:
    assert parse_name("my model ", exists=lambda path: path == "my model ") == LocalPath("my model ")
    assert parse_asked("my model ") == Unknown("my model")


def test_names_that_differ_in_how_an_accent_is_written_are_the_same() -> None:
    composed, apart = "mod\u00e8le", unicodedata.normalize("NFD", "mod\u00e8le")
    assert are_same(composed, apart)
    assert not are_same(composed, "modele")


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("qwen2.5-coder", ["qwen2.5-coder-0.5b-Q4_K_M", "qwen2.5-coder-1.5b-instruct"]),
        ("QWEN2.5-CODER-1.5B", ["qwen2.5-coder-1.5b-instruct"]),
        ("gemma-270m", ["gemma-3-270m"]),
        ("gpt-4o", []),
        ("q", []),
        ("", []),
    ],
)
def test_a_part_of_a_name_and_a_slip_are_near_it(asked: str, near: list[str]) -> None:
    names = ["qwen2.5-coder-1.5b-instruct", "qwen2.5-coder-0.5b-Q4_K_M", "gemma-3-270m", "echo"]
    assert list_near_names(asked, names)[: len(near)] == near
    assert bool(near) == bool(list_near_names(asked, names))
