// OpenAI's SDK for JavaScript.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { check, EMBEDDING, LIMITED_OPENAI, OPENAI, QUESTION } from "./checks.mjs";

const client = new OpenAI();
const model = OPENAI;
const messages = [{ role: "user", content: QUESTION }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const tool = { name: "weather", parameters, strict: true };

await check("chat", async () => {
  const answer = await client.chat.completions.create({ model, messages });
  assert.ok(answer.choices[0].message.content);
  assert.ok(answer.usage.completion_tokens > 0);
});

await check("chat, stream", async () => {
  const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
  let text = "", usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.ok(text && usage.completion_tokens > 0);
});

await check("chat, tool call", async () => {
  const tools = [{ type: "function", function: tool }];
  const asked = await client.chat.completions.create({ model, messages, tools, tool_choice: "required" });
  const message = asked.choices[0].message;
  const call = message.tool_calls[0];
  assert.equal(typeof JSON.parse(call.function.arguments).city, "string");
  const result = { role: "tool", tool_call_id: call.id, content: "12 °C" };
  const answer = await client.chat.completions.create({ model, messages: [...messages, message, result], tools });
  assert.ok(answer.choices[0].message.content);
});

await check("chat, structured output", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "place", schema: parameters, strict: true } };
  const answer = await client.chat.completions.parse({ model, messages, response_format });
  assert.equal(typeof JSON.parse(answer.choices[0].message.content).city, "string");
});

await check("responses", async () => {
  const answer = await client.responses.create({ model, input: QUESTION });
  assert.ok(answer.output_text);
  assert.ok(answer.usage.output_tokens > 0);
});

await check("responses, stream", async () => {
  const types = [];
  for await (const event of await client.responses.create({ model, input: QUESTION, stream: true })) types.push(event.type);
  assert.equal(types.at(-1), "response.completed");
});

await check("embeddings", async () => {
  const answer = await client.embeddings.create({ model: EMBEDDING, input: ["one", "two"] });
  assert.deepEqual(answer.data.map((each) => each.embedding.length), [1536, 1536]);
});

await check("429 retried", async () => {
  const answer = await client.chat.completions.create({ model: LIMITED_OPENAI, messages });
  assert.ok(answer.choices[0].message.content);
});
