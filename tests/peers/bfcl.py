"""Cases of the Berkeley Function Calling Leaderboard, asked of /v1/chat/completions and judged by its own checker.

    pip install --no-deps bfcl-eval
    pip install tree-sitter==0.21.3 tree-sitter-java==0.21.0 tree-sitter-javascript==0.21.4
    python tests/peers/bfcl.py http://127.0.0.1:8080 MODEL answers.jsonl

in an environment of its own, as nothing else of what `bfcl-eval` depends on is needed here. Answers are kept as they
come, so that a run can be ended and goes on later. A format error is a status other than 200, arguments that are no
JSON object, or a tool that the request does not have; what of a call is left in the text is told, too.
"""

from __future__ import annotations

import json
import sys
import types
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

WANTED: Final = {"simple_python": 40, "multiple": 20, "parallel": 20, "live_simple": 20}
TYPES: Final = {"dict": "object", "float": "number", "double": "number", "tuple": "array", "list": "array", "any": ""}
"""What the cases call types that JSON Schema calls otherwise; nothing where it has no name."""
LEFT: Final = ("tool_call", '"arguments"', '"name":', "```json")
"""What shows in the text of an answer that a call was left there."""
Case = tuple[Mapping[str, Any], Any]


def main(url: str, model: str, file: Path) -> None:
    # The checker asks a table of models whether dots were replaced in names, and imports all their clients for it.
    table = types.ModuleType("bfcl_eval.constants.model_config")
    table.__dict__["MODEL_CONFIG_MAPPING"] = defaultdict(lambda: types.SimpleNamespace(underscore_to_dot=False))
    sys.modules[table.__name__] = table
    cases = dict(list_cases())
    known = {json.loads(line)["id"] for line in file.read_text().splitlines()} if file.exists() else set()
    for name, (case, _) in cases.items():
        if name not in known:
            status, reply = ask(url, model, case)
            with file.open("a") as out:
                print(json.dumps({"id": name, "status": status, "reply": reply}), file=out)
    judge(cases, (answer for answer in map(json.loads, file.read_text().splitlines()) if answer["id"] in cases))


def list_cases() -> Iterator[tuple[str, Case]]:
    import bfcl_eval

    data = Path(bfcl_eval.__file__).parent / "data"
    for category, count in WANTED.items():
        name = f"BFCL_v4_{category}.json"
        truths = {each["id"]: each["ground_truth"] for each in read_lines(data / "possible_answer" / name)}
        for case in read_lines(data / name)[:count]:
            yield case["id"], (case, truths[case["id"]])


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line.strip()]


def ask(url: str, model: str, case: Mapping[str, Any]) -> tuple[int, Any]:
    tools = [
        {"type": "function", "function": {**each, "parameters": translate_schema(each["parameters"])}}
        for each in case["function"]
    ]
    messages = case["question"][0]
    body = {"model": model, "messages": messages, "tools": tools, "temperature": 0, "max_tokens": 300}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def translate_schema(schema: Any) -> Any:
    """As JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type":
            made |= {"type": type_} if (type_ := TYPES.get(value, value)) else {}
        elif key == "properties":
            made[key] = {name: translate_schema(each) for name, each in value.items()}
        else:
            made[key] = translate_schema(value) if key == "items" else value
    return made


def judge(cases: Mapping[str, Case], answers: Iterator[Mapping[str, Any]]) -> None:
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for answer in answers:
        case, truth = cases[answer["id"]]
        category = next(each for each in WANTED if answer["id"].startswith(each))
        asked[category] += 1
        try:
            calls = read_calls(case, answer)
        except ValueError as error:
            print(f"format error: {answer['id']}: {error}")
        else:
            right[category] += is_right(case, calls, truth, category)
    for category, count in asked.items():
        print(f"{category}: {right[category]} of {count}")


def read_calls(case: Mapping[str, Any], answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Raises ValueError for an error of format."""
    if answer["status"] != 200:
        raise ValueError(f"status {answer['status']}: {answer['reply']}")
    message = answer["reply"]["choices"][0]["message"]
    if any(each in (message.get("content") or "") for each in LEFT):
        print(f"left in the text: {answer['id']}: {message['content']!r}")
    calls = [each["function"] for each in message.get("tool_calls") or ()]
    names = {each["name"] for each in case["function"]}
    for call in calls:
        if call["name"] not in names or not isinstance(json.loads(call["arguments"]), dict):
            raise ValueError(f"{call}")
    return [{call["name"]: json.loads(call["arguments"])} for call in calls]


def is_right(case: Mapping[str, Any], calls: list[dict[str, Any]], truth: Any, category: str) -> bool:
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    return bool(ast_checker(case["function"], calls, truth, Language.PYTHON, category, "model")["valid"])


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), sys.argv[2], Path(sys.argv[3]))
