"""instructor: models of pydantic by tools, by tools in parallel names, by JSON and by a schema."""

import json
import sys

import instructor
from openai import OpenAI
from pydantic import BaseModel

task = json.loads(sys.argv[1])


class City(BaseModel):
    city: str


told = {}
for mode, text in (
    (instructor.Mode.TOOLS, task["call"].replace("weather", "City")),
    (instructor.Mode.JSON, task["json"]),
    (instructor.Mode.JSON_SCHEMA, task["json"]),
):
    client = instructor.from_openai(OpenAI(base_url=f"{task['url']}/v1", api_key="unused", max_retries=0), mode=mode)
    made = client.chat.completions.create(
        model="echo", response_model=City, max_retries=0, messages=[{"role": "user", "content": text}]
    )
    told[mode.name] = made.model_dump()
print(json.dumps(told))
