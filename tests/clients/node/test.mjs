// The official openai client for JavaScript against a running server.
// Plain script, run by scripts/test_clients.sh, which copies it beside its node_modules.
// Environment: BASE_URL (…/v1), SECURED_URL and SECURED_KEY (a second server that wants a key).

import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { VERSION } from 'openai/version';

const baseURL = process.env.BASE_URL;
const client = new OpenAI({ baseURL, apiKey: 'unused', maxRetries: 0, timeout: 120_000 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: 'user', content: 'Once upon a time, there was a little' }];
const chat = (changes = {}, options) =>
  client.chat.completions.create({ model, messages, max_tokens: 24, temperature: 0, ...changes }, options);

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}
const text = (chunks) => chunks.map((c) => c.choices[0]?.delta?.content ?? '').join('');

async function metric(name) {
  const page = await (await fetch(baseURL.replace(/\/v1$/, '/metrics'))).text();
  const found = page.match(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm'));
  assert.ok(found, `no metric ${name}`);
  return Number(found[1]);
}

const tests = {
  async models() {
    assert.equal((await client.models.retrieve(model)).id, model);
    await assert.rejects(() => client.models.retrieve('no-such-model'), OpenAI.NotFoundError);
  },
  async chat() {
    const answer = await chat();
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.choices[0].message.role, 'assistant');
    assert.ok(answer.choices[0].message.content.length > 0);
    assert.equal(answer.choices[0].finish_reason, 'length');
    assert.equal(answer.usage.completion_tokens, 24);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + 24);
  },
  async streaming() {
    const whole = await chat();
    const chunks = await collect(await chat({ stream: true }));
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    assert.equal(text(chunks), whole.choices[0].message.content);
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'length');
  },
  async streamHelper() {
    const runner = client.chat.completions.stream({ model, messages, max_tokens: 24, temperature: 0 });
    let events = 0;
    runner.on('content', () => (events += 1));
    const final = await runner.finalChatCompletion();
    assert.ok(events > 1);
    assert.equal(final.choices[0].message.content, (await chat()).choices[0].message.content);
  },
  async usage() {
    const chunks = await collect(await chat({ stream: true, stream_options: { include_usage: true } }));
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.equal(chunks.at(-1).usage.completion_tokens, 24);
  },
  async logprobs() {
    const answer = await chat({ logprobs: true, top_logprobs: 2 });
    const { content } = answer.choices[0].logprobs;
    assert.equal(content.length, 24);
    for (const entry of content) {
      assert.ok(entry.logprob <= 0);
      assert.equal(entry.top_logprobs.length, 2);
      assert.equal(entry.top_logprobs[0].token, entry.token);
    }
  },
  async n() {
    const answer = await chat({ n: 3, temperature: 1, seed: 5 });
    assert.deepEqual(answer.choices.map((c) => c.index), [0, 1, 2]);
    assert.ok(new Set(answer.choices.map((c) => c.message.content)).size > 1);
  },
  async stop() {
    const whole = (await chat({ max_tokens: 40 })).choices[0].message.content;
    const stop = ' ' + whole.split(' ')[5];
    const cut = await chat({ max_tokens: 40, stop });
    assert.equal(cut.choices[0].finish_reason, 'stop');
    assert.equal(cut.choices[0].message.content, whole.slice(0, whole.indexOf(stop)));
  },
  async seed() {
    const sample = async (seed) => (await chat({ temperature: 1.2, seed, max_tokens: 32 })).choices[0].message.content;
    assert.equal(await sample(7), await sample(7));
    const different = new Set();
    for (let seed = 0; seed < 5; seed += 1) different.add(await sample(seed));
    assert.ok(different.size > 1);
  },
  async errors() {
    await assert.rejects(() => chat({ temperature: -1 }), OpenAI.BadRequestError);
    await assert.rejects(() => chat({ messages: [] }), OpenAI.BadRequestError);
    await assert.rejects(() => chat({ model: 'no-such-model' }), OpenAI.NotFoundError);
    const long = [{ role: 'user', content: 'a dog and a cat and '.repeat(2000) }];
    await assert.rejects(
      () => chat({ messages: long }),
      (error) => error instanceof OpenAI.BadRequestError && error.code === 'context_length_exceeded',
    );
    const wrong = new OpenAI({ baseURL: process.env.SECURED_URL, apiKey: 'wrong', maxRetries: 0 });
    await assert.rejects(() => wrong.models.list(), OpenAI.AuthenticationError);
    const right = new OpenAI({ baseURL: process.env.SECURED_URL, apiKey: process.env.SECURED_KEY, maxRetries: 0 });
    assert.ok((await right.models.list()).data.length > 0);
    assert.ok((await chat()).choices[0].message.content.length > 0);
  },
  async cancel() {
    for (let round = 0; round < 5; round += 1) {
      const stream = await chat({ stream: true, max_tokens: 400, temperature: 1, seed: round });
      let seen = 0;
      for await (const _ of stream) {
        if ((seen += 1) === 3) break; // leaving the loop aborts the request
      }
    }
    const controller = new AbortController();
    const whole = chat({ max_tokens: 450, temperature: 1, seed: 1, n: 4 }, { signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    await whole.catch((error) => assert.ok(error instanceof OpenAI.APIUserAbortError, String(error)));
    const deadline = Date.now() + 20_000;
    while ((await metric('mistralrs_kv_blocks_used')) > 0 || (await metric('mistralrs_requests_running')) > 0) {
      assert.ok(Date.now() < deadline, 'blocks of cancelled requests are still in use');
      await new Promise((done) => setTimeout(done, 50));
    }
  },
  async tools() {
    const parameters = {
      type: 'object', properties: { word: { enum: ['yes', 'no'] } }, required: ['word'], additionalProperties: false,
    };
    const tools = [{ type: 'function', function: { name: 'say', parameters } }];
    const demanded = { tools, tool_choice: { type: 'function', function: { name: 'say' } }, max_tokens: 200 };
    const { finish_reason: reason, message } = (await chat(demanded)).choices[0];
    assert.equal(reason, 'tool_calls');
    const [call] = message.tool_calls;
    assert.ok(['yes', 'no'].includes(JSON.parse(call.function.arguments).word));
    const runner = client.chat.completions.stream({ model, messages, temperature: 0, ...demanded });
    const streamed = (await runner.finalChatCompletion()).choices[0].message.tool_calls[0];
    assert.deepEqual(streamed.function.arguments, call.function.arguments);
    const result = { role: 'tool', tool_call_id: call.id, content: 'said' };
    await chat({ messages: [...messages, message, result], tools });
  },
  async structuredOutput() {
    const schema = { type: 'object', properties: { n: { enum: [1, 2] } }, required: ['n'], additionalProperties: false };
    const form = { type: 'json_schema', json_schema: { name: 'n', strict: true, schema } };
    const answer = await chat({ response_format: form, max_tokens: 100 });
    assert.ok([1, 2].includes(JSON.parse(answer.choices[0].message.content).n));
    const bad = { type: 'json_schema', json_schema: { name: 'x', schema: { not: {} } } };
    await assert.rejects(() => chat({ response_format: bad }), OpenAI.BadRequestError);
  },
  async responses() {
    const asked = { model, input: 'Once upon a time', temperature: 0, max_output_tokens: 24 };
    const answer = await client.responses.create(asked);
    assert.ok(answer.output_text.length > 0);
    assert.equal(answer.status, 'incomplete');
    const events = await collect(await client.responses.create({ ...asked, stream: true }));
    const streamed = events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta);
    assert.equal(streamed.join(''), answer.output_text);
    const next = { ...asked, input: 'And then?', previous_response_id: answer.id };
    const after = await client.responses.create(next);
    assert.ok(after.usage.input_tokens > answer.usage.input_tokens);
    assert.equal((await client.responses.retrieve(after.id)).output_text, after.output_text);
    await client.responses.delete(after.id);
    await assert.rejects(() => client.responses.retrieve(after.id), OpenAI.NotFoundError);
  },
  async completions() {
    const one = await client.completions.create({ model, prompt: 'The dog', max_tokens: 12, temperature: 0 });
    assert.equal(one.object, 'text_completion');
    const echoed = await client.completions.create({ model, prompt: 'The dog', max_tokens: 12, temperature: 0, echo: true });
    assert.equal(echoed.choices[0].text, 'The dog' + one.choices[0].text);
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
console.log(`openai ${VERSION} (JavaScript): ${Object.keys(tests).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
