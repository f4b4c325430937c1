// What every client's script uses: named checks, and one line of JSON for the result of each.
export const OPENAI = "gpt-4o-mini";
export const CLAUDE = "claude-sonnet-5-5";
export const EMBEDDING = "text-embedding-3-small";
// The first request to each of these is answered with 429.
export const LIMITED_OPENAI = "gpt-4.1-mini";
export const LIMITED_CLAUDE = "claude-haiku-5-5";
export const QUESTION = "What is the weather in Oslo?";

export async function check(name, run) {
  let error = null;
  try {
    await run();
  } catch (caught) {
    error = `${caught.name}: ${caught.message}`.replace(/\s+/g, " ").slice(0, 500);
  }
  console.log(`{"check": ${JSON.stringify(name)}, "error": ${JSON.stringify(error)}}`);
}
