"""LlamaIndex's OpenAILike against a running server: chat, stream, tool, structured output."""

import importlib.metadata
import json
import smoke
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

SCHEMA = {"type": "object", "properties": {"word": {"enum": list(smoke.WORDS)}}, "required": ["word"],
          "additionalProperties": False}
ASKED = [ChatMessage(role="user", content=smoke.QUESTION)]


def chat(**options):
    settings = dict(model=smoke.model(), api_base=smoke.BASE_URL, api_key="unused", is_chat_model=True,
                    is_function_calling_model=True, max_retries=0, timeout=120, temperature=0, max_tokens=24,
                    context_window=512)
    return OpenAILike(**{**settings, **options})


def test_chat_and_stream():
    whole = chat().chat(ASKED).message.content
    assert whole
    pieces = [chunk.delta for chunk in chat().stream_chat(ASKED)]
    assert "".join(piece or "" for piece in pieces) == whole


def test_tool():
    def say(word: str) -> str:
        """Says a word."""
        return word

    model = chat(max_tokens=300, additional_kwargs={"logit_bias": {}})
    answer = model.chat_with_tools([FunctionTool.from_defaults(say)], user_msg="Say it", tool_required=True,
                                   allow_parallel_tool_calls=False)
    calls = model.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
    # A random word may be longer than the answer may be: then the call is cut off, and told so.
    finished = answer.raw.choices[0].finish_reason
    assert finished == "length" or (calls[0].tool_name == "say" and isinstance(calls[0].tool_kwargs["word"], str))


def test_structured_output():
    form = {"type": "json_schema", "json_schema": {"name": "word", "strict": True, "schema": SCHEMA}}
    answer = chat(max_tokens=100).chat(ASKED, response_format=form)
    assert json.loads(answer.message.content)["word"] in smoke.WORDS


if __name__ == "__main__":
    smoke.run(f"llama-index-llms-openai-like {importlib.metadata.version('llama-index-llms-openai-like')} (Python)", globals())
