// The official openai package for JavaScript against the mock server: prints what it saw as JSON.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const model = "gpt-4o-mini";
const messages = [{ role: "user", content: "Hello from another language?" }];
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const seen = {};

const whole = await client.chat.completions.create({ model, messages });
seen.whole = { text: whole.choices[0].message.content, usage: whole.usage.total_tokens };

const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
seen.streamed = { text: "", finish: null, usage: null };
for await (const chunk of stream) {
  seen.streamed.text += chunk.choices[0]?.delta?.content ?? "";
  seen.streamed.finish = chunk.choices[0]?.finish_reason ?? seen.streamed.finish;
  seen.streamed.usage = chunk.usage?.total_tokens ?? seen.streamed.usage;
}

const tools = [{ type: "function", function: { name: "weather", parameters: city, strict: true } }];
const called = await client.chat.completions.create({ model, messages, tools });
const call = called.choices[0].message.tool_calls[0].function;
seen.tool = { name: call.name, city: typeof JSON.parse(call.arguments).city };

const format = { type: "json_schema", json_schema: { name: "place", schema: city, strict: true } };
const structured = await client.chat.completions.create({ model, messages, response_format: format });
seen.structured = typeof JSON.parse(structured.choices[0].message.content).city;

const response = await client.responses.create({ model, input: "Hello?" });
seen.response = { text: response.output_text, status: response.status };
seen.events = [];
for await (const event of await client.responses.create({ model, input: "Hello?", stream: true })) seen.events.push(event.type);

const vectors = await client.embeddings.create({ model: "text-embedding-3-small", input: ["one", "two"] });
seen.embeddings = vectors.data.map((each) => each.embedding.length);

const names = await client.models.list();
seen.models = names.data.length;

const failing = async (call) => {
  try {
    await call();
  } catch (error) {
    return [error.constructor.name, error.status ?? null, error.code ?? null];
  }
};
const hurry = { headers: { "x-mock-fault": "rate_limit_exceeded; retry_after=0.01" } };
seen.errors = {
  model: await failing(() => client.chat.completions.create({ model: "llama", messages })),
  parameter: await failing(() => client.chat.completions.create({ model, messages, temperature: 9.5 })),
  limited: await failing(() => client.chat.completions.create({ model, messages }, hurry)),
  key: await failing(() => new OpenAI({ baseURL, apiKey: "wrong" }).models.list()),
};
const stopped = await client.chat.completions.create({ model, messages, stream: true, max_tokens: 4000 });
for await (const _ of stopped) {
  stopped.controller.abort();
  break;
}
console.log(JSON.stringify(seen));
