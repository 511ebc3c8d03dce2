// Vercel's AI SDK against a running server: chat, stream, tool, structured output.
// Plain script, run by scripts/test_clients.sh, which copies it beside its node_modules.
// Environment: BASE_URL (…/v1).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, Output, streamText, tool } from 'ai';
import { z } from 'zod';

const baseURL = process.env.BASE_URL;
const id = (await (await fetch(`${baseURL}/models`)).json()).data[0].id;
const provider = createOpenAICompatible({ name: 'local', baseURL, supportsStructuredOutputs: true });
const model = provider(id);
const common = { model, prompt: 'Once upon a time, there was a little', temperature: 0, maxRetries: 0 };
const word = z.object({ word: z.enum(['yes', 'no']) }).strict();

const tests = {
  async chatAndStream() {
    const whole = await generateText({ ...common, maxOutputTokens: 24 });
    assert.ok(whole.text.length > 0);
    assert.equal(whole.finishReason, 'length');
    assert.equal(whole.usage.outputTokens, 24);
    const streamed = streamText({ ...common, maxOutputTokens: 24 });
    let text = '';
    for await (const piece of streamed.textStream) text += piece;
    assert.equal(text, whole.text);
  },
  async tool() {
    const say = tool({ description: 'Says a word.', inputSchema: word, execute: async ({ word }) => `said ${word}` });
    const options = { ...common, tools: { say }, toolChoice: { type: 'tool', toolName: 'say' }, maxOutputTokens: 200 };
    const answer = await generateText(options);
    assert.ok(['yes', 'no'].includes(answer.toolCalls[0].input.word));
    assert.match(answer.toolResults[0].output, /^said /);
    const calls = await streamText(options).toolCalls;
    assert.deepEqual(calls[0].input, answer.toolCalls[0].input);
  },
  async structuredOutput() {
    const { output } = await generateText({ ...common, output: Output.object({ schema: word }), maxOutputTokens: 100 });
    assert.ok(['yes', 'no'].includes(output.word));
  },
};

let failed = 0;
for (const [name, run] of Object.entries(tests)) {
  try {
    await run();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}`);
    console.error(error);
  }
}
const { version } = JSON.parse(readFileSync('node_modules/ai/package.json'));
console.log(`ai ${version} (JavaScript): ${Object.keys(tests).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
