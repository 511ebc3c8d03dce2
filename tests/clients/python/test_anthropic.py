"""The official anthropic client against a running server: chat, stream, tool, structured output, errors."""

import anthropic
import json
import smoke

MODEL = smoke.model()
client = anthropic.Anthropic(base_url=smoke.ROOT_URL, api_key="unused", max_retries=0, timeout=120)
SCHEMA = {"type": "object", "properties": {"word": {"enum": list(smoke.WORDS)}}, "required": ["word"],
          "additionalProperties": False}
SAY = {"name": "say", "description": "Says a word.", "input_schema": SCHEMA}
ASKED = [{"role": "user", "content": smoke.QUESTION}]


def ask(**changes):
    # Fields that the client does not know by name go in as they are.
    extra = {"temperature": 0, **changes.pop("extra_body", {})}
    return client.messages.create(**{"model": MODEL, "max_tokens": 24, "messages": ASKED, "extra_body": extra, **changes})


def stream(**changes):
    return client.messages.stream(**{"model": MODEL, "max_tokens": 24, "messages": ASKED,
                                     "extra_body": {"temperature": 0}, **changes})


def test_chat():
    answer = ask()
    assert answer.type == "message" and answer.role == "assistant" and answer.stop_reason == "max_tokens"
    assert answer.content[0].text and answer.usage.output_tokens == 24
    assert ask(system="Be brief.").usage.input_tokens > 0
    stopped = ask(max_tokens=200, stop_sequences=["."])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == "."


def test_stream():
    with stream() as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    assert text == ask().content[0].text == final.content[0].text
    assert final.stop_reason == "max_tokens" and final.usage.output_tokens == 24


def test_tool():
    demanded = dict(tools=[SAY], tool_choice={"type": "any", "disable_parallel_tool_use": True}, max_tokens=200)
    answer = ask(**demanded)
    (call,) = answer.content
    assert answer.stop_reason == "tool_use" and call.type == "tool_use" and call.input["word"] in smoke.WORDS
    with stream(**demanded) as events:
        assert events.get_final_message().content[0].input == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "said"}
    after = ask(tools=[SAY], messages=[*ASKED, {"role": "assistant", "content": answer.content},
                                       {"role": "user", "content": [result]}])
    assert after.content is not None


def test_structured_output():
    form = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    answer = ask(max_tokens=100, extra_body=form)
    assert json.loads(answer.content[0].text)["word"] in smoke.WORDS


def test_counting():
    count = client.messages.count_tokens(model=MODEL, messages=ASKED)
    usage = ask().usage
    assert count.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_errors():
    for wrong, kind in [(dict(max_tokens=10**6), anthropic.BadRequestError), (dict(model="none"), anthropic.NotFoundError)]:
        try:
            ask(**wrong)
            raise AssertionError("no error")
        except kind as error:
            assert error.body["type"] == "error" and error.body["error"]["message"]


if __name__ == "__main__":
    smoke.run(f"anthropic {anthropic.__version__} (Python)", globals())
