// Vercel's AI SDK: both providers.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { check, CLAUDE, EMBEDDING, LIMITED_CLAUDE, LIMITED_OPENAI, OPENAI, QUESTION } from "./checks.mjs";

const openai = createOpenAI();
// Unlike Anthropic's own SDK, this one wants the version in the address.
const anthropic = createAnthropic({ baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1` });
const models = { "openai responses": openai(OPENAI), "openai chat": openai.chat(OPENAI), anthropic: anthropic(CLAUDE) };
const prompt = QUESTION;

for (const [name, model] of Object.entries(models)) {
  await check(`${name}, text`, async () => {
    const answer = await generateText({ model, prompt });
    assert.ok(answer.text);
    assert.ok(answer.usage.outputTokens > 0);
  });

  await check(`${name}, stream`, async () => {
    const stream = streamText({ model, prompt });
    let text = "";
    for await (const part of stream.textStream) text += part;
    assert.ok(text);
    assert.ok((await stream.usage).outputTokens > 0);
  });

  await check(`${name}, tool call`, async () => {
    const cities = [];
    const weather = tool({
      description: "The weather in a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => (cities.push(city), "12 °C"),
    });
    const answer = await generateText({ model, prompt, tools: { weather }, stopWhen: stepCountIs(5) });
    assert.ok(cities.length && answer.text);
  });

  await check(`${name}, structured output`, async () => {
    const output = Output.object({ schema: z.object({ name: z.string(), people: z.number() }) });
    const answer = await generateText({ model, prompt, output });
    assert.equal(typeof answer.output.name, "string");
  });
}

await check("text completion", async () => {
  const answer = await generateText({ model: openai.completion("gpt-3.5-turbo-instruct"), prompt });
  assert.ok(answer.text);
});

await check("embeddings", async () => {
  const answer = await embedMany({ model: openai.textEmbeddingModel(EMBEDDING), values: ["one", "two"] });
  assert.deepEqual(answer.embeddings.map((each) => each.length), [1536, 1536]);
});

await check("openai, 429 retried", async () => {
  assert.ok((await generateText({ model: openai(LIMITED_OPENAI), prompt })).text);
});

await check("anthropic, 429 retried", async () => {
  assert.ok((await generateText({ model: anthropic(LIMITED_CLAUDE), prompt })).text);
});
