// The openai package of npm: a call, its result, a stream, a parsed answer.
import OpenAI from "openai";

const { url, call, json, tool, schema } = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const ask = (content) => ({ model: "echo", messages: [{ role: "user", content }] });

const first = await client.chat.completions.create({ ...ask(call), tools: [tool] });
const message = first.choices[0].message;
const second = await client.chat.completions.create({
  model: "echo",
  tools: [tool],
  messages: [
    { role: "user", content: call },
    message,
    { role: "tool", tool_call_id: message.tool_calls[0].id, content: "Rain." },
  ],
});
const stream = client.chat.completions.stream({ ...ask(call), tools: [tool], stream_options: { include_usage: true } });
const streamed = await stream.finalChatCompletion();
const runner = client.chat.completions.runTools({
  ...ask(call),
  tools: [{ type: "function", function: { ...tool.function, function: () => "Snow.", parse: JSON.parse } }],
});
const parsed = await client.chat.completions.parse({
  ...ask(json),
  response_format: { type: "json_schema", json_schema: { name: "city", schema, strict: true } },
});
console.log(JSON.stringify({
  called: message.tool_calls[0].function,
  reason: first.choices[0].finish_reason,
  answer: second.choices[0].message.content,
  streamed: streamed.choices[0].message.tool_calls[0].function,
  usage: streamed.usage.completion_tokens,
  run: await runner.finalContent(),
  parsed: parsed.choices[0].message.parsed ?? JSON.parse(parsed.choices[0].message.content),
}));
