// ollama for JavaScript: chats, streams, tools, structured output, the list of models, errors.
import { Ollama } from "ollama";

const task = JSON.parse(process.argv[2]);
const client = new Ollama({ host: task.url });
const asked = [{ role: "user", content: task.call }];
const called = await client.chat({ model: "echo", messages: asked, tools: [task.tool], think: true });
const [call] = called.message.tool_calls;
const result = { role: "tool", tool_name: call.function.name, content: "Rain." };
const answer = await client.chat({ model: "echo", messages: [...asked, called.message, result], tools: [task.tool] });
const streamed = [];
let thought = "";
let last;
for await (const chunk of await client.chat({ model: "echo", messages: asked, tools: [task.tool], think: true, stream: true })) {
  thought += chunk.message.thinking ?? "";
  for (const each of chunk.message.tool_calls ?? []) streamed.push([each.function.name, each.function.arguments]);
  last = chunk;
}
const shaped = await client.chat({ model: "echo", messages: [{ role: "user", content: task.json }], format: task.schema });
const generated = await client.generate({ model: "echo", prompt: "one" });
const failure = await client.chat({ model: "nothing", messages: asked }).catch((error) => error.status_code);
console.log(
  JSON.stringify({
    called: [call.function.name, call.function.arguments],
    thought: called.message.thinking.trim(),
    answer: answer.message.content,
    streamed,
    streamed_thought: thought.trim(),
    last: [last.done, last.done_reason, last.eval_count > 0, last.eval_duration > 0],
    parsed: JSON.parse(shaped.message.content),
    generated: generated.response,
    listed: (await client.list()).models.map((each) => each.model).filter((name) => name === "echo:latest"),
    shown: (await client.show({ model: "echo" })).capabilities,
    running: (await client.ps()).models.map((each) => each.model),
    failure,
  }),
);
