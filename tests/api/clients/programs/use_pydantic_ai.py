"""pydantic-ai: a tool that is run, thoughts, a stream, output by a tool and by a schema."""

import asyncio
import json
import sys

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

task = json.loads(sys.argv[1])
model = OpenAIChatModel("echo", provider=OpenAIProvider(base_url=f"{task['url']}/v1", api_key="unused"))


class City(BaseModel):
    city: str


def weather(city: str) -> str:
    """Tells the weather."""
    return f"Rain in {city}."


async def main() -> None:
    agent = Agent(model, tools=[weather])
    whole = await agent.run(task["call"])
    thoughts = [
        part.content for message in whole.all_messages() for part in message.parts if isinstance(part, ThinkingPart)
    ]
    async with agent.run_stream(task["call"]) as stream:
        streamed = await stream.get_output()
    by_tool = await Agent(model, output_type=ToolOutput(City, name="City")).run(task["call"].replace("weather", "City"))
    by_schema = await Agent(model, output_type=NativeOutput(City)).run(task["json"])
    print(
        json.dumps(
            {
                "answer": whole.output,
                "thoughts": thoughts,
                "streamed": streamed,
                "by_tool": by_tool.output.model_dump(),
                "by_schema": by_schema.output.model_dump(),
            }
        )
    )


asyncio.run(main())
