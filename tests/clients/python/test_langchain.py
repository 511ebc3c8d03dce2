"""LangChain's ChatOpenAI against a running server, over chat completions and over responses."""

import importlib.metadata
import smoke
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict
from typing import Literal


class Word(BaseModel):
    """A word."""

    model_config = ConfigDict(extra="forbid")
    word: Literal["yes", "no"]


@tool
def say(word: Literal["yes", "no"]) -> str:
    """Says a word."""
    return f"said {word}"


def chat(responses=False, **options):
    settings = dict(model=smoke.model(), base_url=smoke.BASE_URL, api_key="unused", max_retries=0, timeout=120,
                    temperature=0, max_tokens=24, use_responses_api=responses)
    return ChatOpenAI(**{**settings, **options})


def text(message):
    return message.content if isinstance(message.content, str) else message.text


def test_chat_and_stream():
    for responses in (False, True):
        model = chat(responses)
        whole = model.invoke(smoke.QUESTION)
        assert text(whole) and whole.usage_metadata["output_tokens"] == 24
        merged = None
        for chunk in model.stream(smoke.QUESTION):
            merged = chunk if merged is None else merged + chunk
        assert text(merged) == text(whole), (text(merged), text(whole))


def test_tool():
    for responses in (False, True):
        model = chat(responses, max_tokens=200).bind_tools([say], tool_choice="say", parallel_tool_calls=False)
        answer = model.invoke("Say it")
        (call,) = answer.tool_calls
        assert call["name"] == "say" and call["args"]["word"] in smoke.WORDS
        merged = None
        for chunk in model.stream("Say it"):
            merged = chunk if merged is None else merged + chunk
        assert merged.tool_calls[0]["args"] == call["args"]
        result = ToolMessage(say.invoke(call["args"]), tool_call_id=call["id"])
        again = chat(responses).bind_tools([say])
        after = again.invoke([HumanMessage("Say it"), answer, result])
        assert after.usage_metadata["input_tokens"] > answer.usage_metadata["input_tokens"]


def test_structured_output():
    for responses in (False, True):
        model = chat(responses, max_tokens=100).with_structured_output(Word, method="json_schema")
        assert model.invoke("Hi").word in smoke.WORDS


if __name__ == "__main__":
    smoke.run(f"langchain-openai {importlib.metadata.version('langchain-openai')} (Python)", globals())
