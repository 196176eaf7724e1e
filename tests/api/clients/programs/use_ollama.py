"""ollama for Python: chats, streams, tools, thoughts, structured output, the list of models, errors."""

import json
import sys

import ollama
from pydantic import BaseModel

task = json.loads(sys.argv[1])
client = ollama.Client(host=task["url"])


class City(BaseModel):
    """A city."""

    city: str


asked = [{"role": "user", "content": task["call"]}]
called = client.chat("echo", messages=asked, tools=[task["tool"]], think=True)
(call,) = called.message.tool_calls
result = {"role": "tool", "tool_name": call.function.name, "content": "Rain."}
answer = client.chat("echo:latest", messages=[*asked, called.message, result], tools=[task["tool"]])
thought, chunks, streamed = "", [], []
for chunk in client.chat("echo", messages=asked, tools=[task["tool"]], think=True, stream=True):
    thought += chunk.message.thinking or ""
    streamed += chunk.message.tool_calls or []
    chunks.append(chunk)
shaped = client.chat("echo", messages=[{"role": "user", "content": task["json"]}], format=City.model_json_schema())
first = client.generate("echo", "one", keep_alive="5m", options={"temperature": 0, "num_predict": 10})
second = client.generate("echo", "two", context=first.context)
try:
    client.chat("nothing", messages=asked)
except ollama.ResponseError as error:
    failure = error.status_code
print(
    json.dumps(
        {
            "called": [call.function.name, dict(call.function.arguments)],
            "thought": called.message.thinking.strip(),
            "answer": answer.message.content,
            "streamed": [[each.function.name, dict(each.function.arguments)] for each in streamed],
            "streamed_thought": thought.strip(),
            "last": [chunks[-1].done, chunks[-1].done_reason, chunks[-1].eval_count > 0, chunks[-1].eval_duration > 0],
            "parsed": City.model_validate_json(shaped.message.content).model_dump(),
            "generated": [first.response, second.response],
            "grown": second.prompt_eval_count > first.prompt_eval_count,
            "listed": [each.model for each in client.list().models if each.model == "echo:latest"],
            "shown": client.show("echo").capabilities,
            "running": [each.model for each in client.ps().models],
            "failure": failure,
        }
    )
)
