// The AI SDK with its provider for compatible servers: tools in several steps, streams with thoughts, objects.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const { url, call, json, tool: told, schema } = JSON.parse(process.argv[2]);
const provider = createOpenAICompatible({ name: "local", baseURL: `${url}/v1`, supportsStructuredOutputs: true, includeUsage: true });
const model = provider("echo");
const tools = {
  weather: tool({
    description: told.function.description,
    inputSchema: jsonSchema(told.function.parameters),
    execute: async ({ city }) => `Rain in ${city}.`,
  }),
};

const whole = await generateText({ model, tools, prompt: call, stopWhen: stepCountIs(3), maxRetries: 0 });
const stream = streamText({ model, tools, prompt: call, stopWhen: stepCountIs(3), maxRetries: 0 });
const kinds = new Set();
for await (const part of stream.fullStream) kinds.add(part.type);
const forced = await generateText({ model, tools, prompt: call, toolChoice: { type: "tool", toolName: "weather" }, maxRetries: 0 });
const object = await generateText({
  model,
  prompt: json,
  output: Output.object({ schema: jsonSchema(schema) }),
  maxRetries: 0,
});
console.log(JSON.stringify({
  called: whole.steps[0].toolCalls.map(({ toolName, input }) => ({ name: toolName, input })),
  thought: whole.steps[0].reasoningText,
  reason: whole.steps[0].finishReason,
  answer: whole.text,
  streamed: await stream.text,
  kinds: [...kinds],
  usage: (await stream.totalUsage).outputTokens > 0,
  forced: forced.toolCalls[0].input,
  object: object.output,
}));
