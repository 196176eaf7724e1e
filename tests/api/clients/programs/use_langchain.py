"""langchain-openai: bound tools, their results, streams, structured output in both of its ways."""

import json
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

task = json.loads(sys.argv[1])
model = ChatOpenAI(base_url=f"{task['url']}/v1", api_key="unused", model="echo", max_retries=0)


class City(BaseModel):
    """A city."""

    city: str


bound = model.bind_tools([task["tool"]])
called = bound.invoke(task["call"])
(call,) = called.tool_calls
answer = bound.invoke([HumanMessage(task["call"]), called, ToolMessage("Rain.", tool_call_id=call["id"])])
streamed = None
for chunk in bound.stream(task["call"]):
    streamed = chunk if streamed is None else streamed + chunk
by_schema = model.with_structured_output(City, method="json_schema").invoke(task["json"])
by_call = model.with_structured_output(City, method="function_calling").invoke(task["call"].replace("weather", "City"))
print(
    json.dumps(
        {
            "called": [call["name"], call["args"]],
            "answer": answer.content,
            "streamed": [streamed.tool_calls[0]["name"], streamed.tool_calls[0]["args"]],
            "by_schema": by_schema.model_dump(),
            "by_call": by_call.model_dump(),
            "usage": called.usage_metadata["output_tokens"] > 0,
        }
    )
)
