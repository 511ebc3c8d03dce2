"""Qwen2.5's chat form: turns to text, and back from text to tool calls."""

import json
import re

SYSTEM = "You are a helpful assistant."
TOOLS_HEAD = (
    "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
START, END = "<|im_start|>", "<|im_end|>"


def answer_text(message: dict) -> str:
    """What the assistant writes for a turn, without the frame around it."""
    parts = [message["content"]] if message.get("content") else []
    for tool_call in message.get("tool_calls", []):
        function = tool_call["function"]
        body = '{"name": "' + function["name"] + '", "arguments": ' + json.dumps(function["arguments"], ensure_ascii=False) + "}"
        parts.append(f"<tool_call>\n{body}\n</tool_call>")
    return "\n".join(parts)


def pieces(messages: list[dict], tools: list[dict] | None = None) -> list[tuple[str, bool]]:
    """The conversation as (text, whether the assistant writes it) in order. `template.jinja` gives the same text."""
    system = SYSTEM
    if messages[0]["role"] == "system":
        system, messages = messages[0]["content"], messages[1:]
    if tools:
        system += TOOLS_HEAD + "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in tools) + TOOLS_TAIL
    out = [(f"{START}system\n{system}{END}\n", False)]
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            out += [(f"{START}assistant\n", False), (answer_text(message) + END, True), ("\n", False)]
        elif message["role"] == "tool":
            first = messages[index - 1]["role"] != "tool"
            last = index + 1 == len(messages) or messages[index + 1]["role"] != "tool"
            text = (START + "user" if first else "") + f"\n<tool_response>\n{message['content']}\n</tool_response>" + (END + "\n" if last else "")
            out.append((text, False))
        else:
            out.append((f"{START}{message['role']}\n{message['content']}{END}\n", False))
    return out


def prompt(messages: list[dict], tools: list[dict] | None = None) -> str:
    """What the model is given to answer the last turn."""
    return "".join(text for text, _ in pieces(messages, tools)) + f"{START}assistant\n"


def parse_calls(text: str) -> list[dict] | None:
    """The calls in an answer, or nothing if one of them is no JSON."""
    calls = []
    for body in re.findall(r"<tool_call>\n(.*?)\n</tool_call>", text, re.S):
        try:
            value = json.loads(body)
            calls.append({"name": value["name"], "arguments": value["arguments"]})
        except (ValueError, KeyError, TypeError):
            return None
    return calls
