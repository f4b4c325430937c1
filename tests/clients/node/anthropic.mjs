// Anthropic's SDK for JavaScript.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { check, CLAUDE, LIMITED_CLAUDE, QUESTION } from "./checks.mjs";

const client = new Anthropic();
const common = { model: CLAUDE, max_tokens: 1000 };
const messages = [{ role: "user", content: QUESTION }];
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };

await check("messages", async () => {
  const answer = await client.messages.create({ ...common, messages });
  assert.ok(answer.content[0].text);
  assert.ok(answer.usage.output_tokens > 0);
});

await check("messages, stream", async () => {
  const answer = await client.messages.stream({ ...common, messages }).finalMessage();
  assert.ok(answer.content[0].text);
  assert.ok(answer.usage.output_tokens > 0);
});

await check("messages, tool call", async () => {
  const tools = [{ name: "weather", input_schema: schema }];
  const asked = await client.messages.create({ ...common, messages, tools, tool_choice: { type: "any" } });
  const call = asked.content.find((block) => block.type === "tool_use");
  assert.equal(typeof call.input.city, "string");
  const result = { type: "tool_result", tool_use_id: call.id, content: "12 °C" };
  const turns = [...messages, { role: "assistant", content: asked.content }, { role: "user", content: [result] }];
  const answer = await client.messages.create({ ...common, messages: turns, tools });
  assert.ok(answer.content.at(-1).text);
});

await check("messages, structured output", async () => {
  const answer = await client.messages.create({ ...common, messages, output_config: { format: { type: "json_schema", schema } } });
  assert.equal(typeof JSON.parse(answer.content[0].text).city, "string");
});

await check("429 retried", async () => {
  const answer = await client.messages.create({ ...common, model: LIMITED_CLAUDE, messages });
  assert.ok(answer.content[0].text);
});
