"""The official openai client for Python against a running server.

Plain script, run by scripts/test_clients.sh. Environment: BASE_URL (…/v1), SECURED_URL and SECURED_KEY
(a second server that wants a key). Every function named test_* is one test; the exit code counts failures.
The model is a small one that tells stories, at temperature 0 unless a test says otherwise.
"""

import asyncio
import json
import math
import os
import re
import time
import urllib.request

import openai
import smoke

BASE_URL = os.environ["BASE_URL"]
client = openai.OpenAI(base_url=BASE_URL, api_key="unused", max_retries=0, timeout=120)
MODEL = client.models.list().data[0].id
MESSAGES = [{"role": "user", "content": "Once upon a time, there was a little"}]


def chat(**changes):
    arguments = {"model": MODEL, "messages": MESSAGES, "max_tokens": 24, "temperature": 0} | changes
    return client.chat.completions.create(**arguments)


def text_of(stream):
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def raises(kind, call, **expected):
    try:
        call()
    except kind as error:
        for name, value in expected.items():
            found = getattr(error, name)
            assert found == value, f"{name} is {found!r}, not {value!r}"
        assert error.body and error.body.get("message"), "the error has no message"
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def metric(name):
    """The value of a metric without labels, from the server's Prometheus page."""
    with urllib.request.urlopen(BASE_URL.removesuffix("/v1") + "/metrics", timeout=30) as page:
        text = page.read().decode()
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    assert found, f"no metric {name} in:\n{text}"
    return float(found.group(1))


def test_models():
    page = client.models.list()
    assert page.object == "list" and page.data[0].object == "model"
    assert client.models.retrieve(MODEL).id == MODEL
    raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"), status_code=404)


def test_chat():
    answer = chat()
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.id and answer.created > 1_600_000_000
    assert abs(answer.created - time.time()) < 3600, "`created` is in seconds"
    assert choice.index == 0 and choice.message.role == "assistant"
    assert choice.message.content and choice.finish_reason == "length"
    usage = answer.usage
    assert usage.completion_tokens == 24
    assert usage.prompt_tokens > 5
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_max_completion_tokens():
    answer = chat(max_tokens=openai.NOT_GIVEN, max_completion_tokens=5)
    assert answer.usage.completion_tokens == 5


def test_prefix_is_cached():
    long = [{"role": "user", "content": "Once upon a time, there was a big dog. " * 8}]
    first, second = chat(messages=long), chat(messages=long)
    assert first.choices[0].message.content == second.choices[0].message.content
    assert second.usage.prompt_tokens_details.cached_tokens > 0


def test_streaming_equals_whole():
    whole = chat().choices[0]
    chunks = list(chat(stream=True))
    assert all(c.object == "chat.completion.chunk" for c in chunks)
    assert len({c.id for c in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(c.usage is None for c in chunks), "usage only where it was asked for"
    assert text_of(chunks) == whole.message.content
    finish = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert finish[-1] == whole.finish_reason and all(f is None for f in finish[:-1])


def test_streaming_usage():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    last = chunks[-1]
    assert last.choices == [] and last.usage.completion_tokens == 24
    assert last.usage.total_tokens == last.usage.prompt_tokens + 24
    assert all(c.usage is None for c in chunks[:-1])


def check_logprobs(content, tokens):
    assert len(content) == tokens
    for entry in content:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        tops = [t.logprob for t in entry.top_logprobs]
        assert tops == sorted(tops, reverse=True)
        assert sum(map(math.exp, tops)) <= 1.0001
        assert entry.top_logprobs[0].token == entry.token, "greedy takes the best"
        assert bytes(entry.bytes).decode("utf-8", "replace") == entry.token


def test_logprobs():
    answer = chat(logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    check_logprobs(content, answer.usage.completion_tokens)
    joined = b"".join(bytes(entry.bytes) for entry in content).decode("utf-8", "replace")
    assert joined.strip() == answer.choices[0].message.content.strip()
    streamed = []
    for chunk in chat(logprobs=True, top_logprobs=3, stream=True):
        if chunk.choices and chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content or []
    check_logprobs(streamed, answer.usage.completion_tokens)
    # Batches of other shapes may round differently in the last bit, no more.
    assert all(abs(a.logprob - b.logprob) < 1e-4 for a, b in zip(streamed, content))


def test_n():
    answer = chat(n=3, temperature=1.0, seed=5)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert len({c.message.content for c in answer.choices}) > 1
    assert answer.usage.completion_tokens <= 3 * 24
    streamed = {0: "", 1: "", 2: ""}
    for chunk in chat(n=3, temperature=1.0, seed=5, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == {c.index: c.message.content for c in answer.choices}


def test_stop():
    whole = chat(max_tokens=40).choices[0].message.content
    words = whole.split(" ")
    stop = " " + words[4] + " " + words[5][:2]  # begins and ends inside tokens
    cut = chat(max_tokens=40, stop=stop).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.message.content == whole[: whole.index(stop)]
    assert text_of(chat(max_tokens=40, stop=[stop, "never in there"], stream=True)) == cut.message.content


def test_seed():
    def sample(seed):
        return chat(temperature=1.2, seed=seed, max_tokens=32).choices[0].message.content
    assert sample(7) == sample(7)
    assert len({sample(seed) for seed in range(5)}) > 1


def test_logit_bias():
    def first(prompt, bias):
        answer = client.completions.create(
            model=MODEL, prompt=prompt, max_tokens=1, temperature=0, logit_bias=bias, logprobs=1
        )
        return answer.choices[0].logprobs.tokens[0]
    plain = first("Once upon a time", {})
    forced = first("Once upon a time", {"300": 100})
    assert forced != plain and forced == first("The end", {"300": 100})
    assert first("Once upon a time", {"300": -100}) == plain


def test_bad_requests():
    for changes in (
        {"temperature": -1}, {"temperature": 1e9}, {"top_p": 7}, {"n": 0}, {"messages": []},
        {"messages": [{"role": "nobody", "content": "x"}]}, {"max_tokens": 0}, {"max_tokens": -5},
        {"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 5000}, {"logit_bias": {"99999999": 1}},
        {"presence_penalty": 99}, {"stop": 5},
    ):
        error = raises(openai.BadRequestError, lambda c=changes: chat(**c), status_code=400)
        assert error.body.get("type") == "invalid_request_error", f"{changes}: {error.body}"
    long = [{"role": "user", "content": "a dog and a cat and " * 2000}]
    raises(openai.BadRequestError, lambda: chat(messages=long), code="context_length_exceeded")
    raises(openai.BadRequestError, lambda: list(chat(messages=long, stream=True)))
    raises(openai.NotFoundError, lambda: chat(model="no-such-model"), status_code=404)
    assert chat().choices[0].message.content, "a good request after the bad ones"


def test_authentication():
    url, key = os.environ["SECURED_URL"], os.environ["SECURED_KEY"]
    wrong = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
    raises(openai.AuthenticationError, lambda: wrong.models.list(), status_code=401)
    right = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    answer = right.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=3)
    assert answer.usage.completion_tokens == 3


def test_cancel_gives_the_blocks_back():
    for round_ in range(5):
        stream = chat(stream=True, max_tokens=400, temperature=1.0, seed=round_)
        for _ in range(3):
            next(stream)
        stream.close()
    deadline = time.monotonic() + 20
    while metric("mistralrs_kv_blocks_used") > 0 or metric("mistralrs_requests_running") > 0:
        assert time.monotonic() < deadline, "blocks of cancelled requests are still in use"
        time.sleep(0.05)


def test_completions():
    def complete(**changes):
        arguments = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}
        return client.completions.create(**(arguments | changes))
    one = complete()
    assert one.object == "text_completion" and one.choices[0].finish_reason == "length"
    many = complete(prompt=["Once upon a time", "The dog"])
    assert [c.index for c in many.choices] == [0, 1]
    assert many.choices[0].text == one.choices[0].text
    echoed = complete(echo=True)
    assert echoed.choices[0].text == "Once upon a time" + one.choices[0].text
    from_ids = complete(prompt=[1])
    assert from_ids.usage.prompt_tokens == 1
    assert from_ids.choices[0].text.strip().startswith("Once upon a time")
    assert "".join(c.choices[0].text for c in complete(stream=True) if c.choices) == one.choices[0].text
    scored = complete(logprobs=2, echo=True)
    table = scored.choices[0].logprobs
    assert len(table.tokens) == scored.usage.total_tokens == len(table.token_logprobs)
    assert table.token_logprobs[0] is None and all(p <= 0 for p in table.token_logprobs[1:])


SAY = {
    "type": "function",
    "function": {
        "name": "say",
        "description": "Says a word.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"enum": ["yes", "no"]}},
            "required": ["word"],
            "additionalProperties": False,
        },
    },
}


def test_a_demanded_tool_call():
    answer = chat(tools=[SAY], tool_choice="required", parallel_tool_calls=False, max_tokens=200)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "say" and call.id
    assert json.loads(call.function.arguments)["word"] in ("yes", "no")

    pieces = [
        c.choices[0].delta.tool_calls[0]
        for c in chat(tools=[SAY], tool_choice="required", parallel_tool_calls=False, max_tokens=200, stream=True)
        if c.choices and c.choices[0].delta.tool_calls
    ]
    assert pieces[0].id and pieces[0].function.name == "say"
    assert "".join(p.function.arguments for p in pieces) == call.function.arguments

    result = {"role": "tool", "tool_call_id": call.id, "content": [{"type": "text", "text": "said"}]}
    after = chat(messages=[*MESSAGES, choice.message.model_dump(exclude_none=True), result], tools=[SAY])
    assert after.usage.prompt_tokens > answer.usage.prompt_tokens


def test_structured_output():
    schema = SAY["function"]["parameters"]
    form = {"type": "json_schema", "json_schema": {"name": "word", "strict": True, "schema": schema}}
    answer = chat(response_format=form, max_tokens=100)
    assert answer.choices[0].finish_reason == "stop"
    assert json.loads(answer.choices[0].message.content)["word"] in ("yes", "no")
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array", "uniqueItems": True}}}
    error = raises(openai.BadRequestError, lambda: chat(response_format=bad), status_code=400)
    assert "uniqueItems" in error.body["message"]
    word = chat(extra_body={"grammar": {"type": "regex", "value": "(yes|no)"}})
    assert word.choices[0].message.content in ("yes", "no")


def test_responses():
    def ask(**changes):
        settings = dict(model=MODEL, input="Once upon a time", temperature=0, max_output_tokens=24)
        return client.responses.create(**{**settings, **changes})

    answer = ask(instructions="Be brief.")
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output_text and answer.usage.output_tokens == 24
    events = list(ask(instructions="Be brief.", stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == answer.output_text
    assert events[-1].type == "response.incomplete" and events[-1].response.output_text == answer.output_text
    with client.responses.stream(model=MODEL, input="Once upon a time", temperature=0, max_output_tokens=24) as stream:
        for _ in stream:
            pass

    say = {"type": "function", "strict": True, **SAY["function"]}
    called = ask(tools=[say], tool_choice="required", parallel_tool_calls=False, max_output_tokens=200)
    (call,) = called.output
    assert call.type == "function_call" and json.loads(call.arguments)["word"] in ("yes", "no")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "said"}
    after = ask(input=[result], previous_response_id=called.id, tools=[say])
    assert after.usage.input_tokens > called.usage.input_tokens
    assert client.responses.retrieve(after.id).output_text == after.output_text
    client.responses.delete(after.id)
    raises(openai.NotFoundError, lambda: client.responses.retrieve(after.id), status_code=404)

    form = {"format": {"type": "json_schema", "name": "word", "strict": True, "schema": say["parameters"]}}
    assert json.loads(ask(text=form, max_output_tokens=100).output_text)["word"] in ("yes", "no")
    begun = ask(background=True)
    while begun.status == "in_progress":
        begun = client.responses.retrieve(begun.id)
    assert begun.output_text == ask().output_text


def test_many_at_once():
    async def run():
        many = openai.AsyncOpenAI(base_url=BASE_URL, api_key="unused", max_retries=0, timeout=120)
        requests = [
            many.chat.completions.create(
                model=MODEL, temperature=0, max_tokens=8 + i,
                messages=[{"role": "user", "content": "One day, " + "the dog and " * i}],
            )
            for i in range(12)
        ]
        return [a.choices[0].message.content for a in await asyncio.gather(*requests)]
    together = asyncio.run(run())
    alone = [
        chat(max_tokens=8 + i, messages=[{"role": "user", "content": "One day, " + "the dog and " * i}])
        .choices[0].message.content
        for i in range(12)
    ]
    assert together == alone


if __name__ == "__main__":
    smoke.run(f"openai {openai.__version__} (Python)", globals())
