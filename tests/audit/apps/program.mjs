// A program for Node with the official openai package. `node program.mjs wrong` makes mistakes.
import OpenAI from "openai";

const wrong = process.argv[2] === "wrong";
const client = new OpenAI({ timeout: wrong ? 600_000 : 2_500 });
const texts = [1, 2, 3, 4, 5, 6].map((number) => `text ${number}`);

async function ask(text) {
  const limit = wrong ? {} : { max_completion_tokens: 300 };
  const signal = wrong ? undefined : AbortSignal.timeout(4_500);
  const reply = await client.chat.completions.create(
    { model: "gpt-4o-mini", messages: [{ role: "user", content: `Summarize: ${text}` }], ...limit },
    { signal },
  );
  const choice = reply.choices[0];
  if (!wrong && choice.finish_reason !== "stop") throw new Error(`ended: ${choice.finish_reason}`);
  return choice.message.content;
}

async function inTurn(names) {
  const answers = [];
  for (const name of names) answers.push(await ask(name).then((value) => ({ value }), (reason) => ({ reason })));
  return answers;
}

if (wrong) {
  // One failure ends the program, and with it the other calls.
  console.log((await Promise.all(texts.map(ask))).join("\n"));
} else {
  const answers = (await Promise.all([inTurn(texts.slice(0, 3)), inTurn(texts.slice(3))])).flat();
  const failures = answers.filter(({ reason }) => reason);
  console.log(answers.flatMap(({ value }) => value ?? []).join("\n"));
  if (failures.length) {
    console.error(`${failures.length} texts failed: ${failures[0].reason}`);
    process.exitCode = 1;
  }
}
