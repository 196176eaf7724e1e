"""litellm: a call with a thought, a stream of it, an answer of a schema."""

import json
import sys

import litellm

task = json.loads(sys.argv[1])
asked = {"model": "openai/echo", "api_base": f"{task['url']}/v1", "api_key": "unused", "num_retries": 0}
user = [{"role": "user", "content": task["call"]}]

reply = litellm.completion(**asked, messages=user, tools=[task["tool"]], reasoning_effort="low")
message = reply.choices[0].message
called = message.tool_calls[0].function
chunks = list(litellm.completion(**asked, messages=user, tools=[task["tool"]], stream=True))
rebuilt = litellm.stream_chunk_builder(chunks, messages=user).choices[0].message
form = {"type": "json_schema", "json_schema": {"name": "city", "schema": task["schema"], "strict": True}}
told = litellm.completion(**asked, messages=[{"role": "user", "content": task["json"]}], response_format=form)
print(
    json.dumps(
        {
            "called": {
                "name": message.tool_calls[0].function.name,
                "arguments": message.tool_calls[0].function.arguments,
            },
            "thought": message.reasoning_content,
            "reason": reply.choices[0].finish_reason,
            "streamed": {
                "name": rebuilt.tool_calls[0].function.name,
                "arguments": rebuilt.tool_calls[0].function.arguments,
            },
            "streamed_thought": rebuilt.reasoning_content,
            "parsed": json.loads(told.choices[0].message.content),
        }
    )
)
