"""Pydantic AI against a running server: chat, stream, structured output, a tool that a demanded call reaches."""

import asyncio
import importlib.metadata
import smoke
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from typing import Literal

MODEL = OpenAIChatModel(smoke.model(), provider=OpenAIProvider(base_url=smoke.BASE_URL, api_key="unused"))
SETTINGS = {"temperature": 0, "max_tokens": 24}


class Word(BaseModel):
    """A word."""

    word: Literal["yes", "no"]


def test_chat_and_stream():
    # A small model that tells stories ends by its limit; that is an answer too.
    agent = Agent(MODEL, model_settings=SETTINGS)

    async def streamed():
        async with agent.run_stream(smoke.QUESTION) as result:
            return [text async for text in result.stream_text(delta=True, debounce_by=None)]

    pieces = asyncio.run(streamed())
    assert len(pieces) > 3 and "".join(pieces).strip() == agent.run_sync(smoke.QUESTION).output.strip()


def test_tool():
    # The output is a tool that has to be called.
    agent = Agent(MODEL, output_type=ToolOutput(Word, name="say"), model_settings={**SETTINGS, "max_tokens": 200,
                                                                                  "parallel_tool_calls": False})
    assert agent.run_sync("Say it").output.word in smoke.WORDS


def test_structured_output():
    agent = Agent(MODEL, output_type=NativeOutput(Word), model_settings={**SETTINGS, "max_tokens": 100})
    assert agent.run_sync("Hi").output.word in smoke.WORDS


if __name__ == "__main__":
    smoke.run(f"pydantic-ai {importlib.metadata.version('pydantic-ai-slim')} (Python)", globals())
