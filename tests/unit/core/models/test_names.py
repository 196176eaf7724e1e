"""What a user writes for a model, and what it is taken for."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import ModelNotFound
from core.models.names import Alias, BuiltIn, HubName, LocalPath, Name, Server, Unknown, parse

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
    assert parse(text, ALIASES) == meant


@pytest.mark.parametrize("text", REFUSED)
def test_what_no_model_can_be_called_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        parse(text, ALIASES)
    said = str(caught.value)
    assert said.endswith(".")
    assert len(said) < 500
    assert "\0" not in said


def test_a_path_that_is_there_goes_before_a_repository_and_the_name_says_so() -> None:
    name = parse("owner/repo", ALIASES, exists=lambda path: path == "owner/repo")
    assert name == LocalPath("owner/repo", hides=HubName("owner/repo"))
    assert parse("./x", exists=lambda _: True) == LocalPath("./x")


def test_a_built_in_model_goes_before_a_file_of_its_name() -> None:
    assert parse("guide", exists=lambda _: True) == BuiltIn("guide")


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
        name = parse(text, ALIASES)
    except ModelNotFound:
        return
    assert parse(str(name), ALIASES) == name
    if isinstance(name, HubName) and name.file is not None:
        assert ".." not in name.file.split("/")
        assert not name.file.startswith("/")
        assert "\\" not in name.file
