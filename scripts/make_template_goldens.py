#!/usr/bin/env python3
"""Renders chat templates with transformers and writes down what comes out.

    python scripts/make_template_goldens.py ../shared/chat-templates

copies the templates named below to mistralrs-core/tests/data/templates and writes goldens.json
beside them: for each template and conversation the prompt, or the template's own complaint. The
tests in mistralrs-core/src/text render the same and compare byte for byte. Needs transformers
with jinja2; the clock stands still at NOW.
"""

import copy
import datetime
import json
import pathlib
import shutil
import sys

import jinja2
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2024, 7, 26, 13, 5, 9)
ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "mistralrs-core/tests/data/templates"

# Template -> how it wants the arguments of tool calls.
TEMPLATES = {
    "HuggingFaceTB-SmolLM3-3B": "object",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "object",
    "Qwen-Qwen2.5-7B-Instruct": "object",
    "Qwen-Qwen3-0.6B": "object",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "text",
    "gemma-3-it": "object",
    "gemma3n": "object",
    "google-gemma-2-2b-it": "object",
    "meta-llama-Llama-3.1-8B-Instruct": "object",
    "microsoft-Phi-3.5-mini-instruct": "object",
    "mistralai-Mistral-Nemo-Instruct-2407": "object",
    "openai-gpt-oss-120b": "object",
    "qwen2-vl": "object",
}

SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
ORDER = {
    "type": "function",
    "function": {
        "name": "place_order",
        "description": "Places an order: \"fast\" & <safe>, naïve or 🦙.",
        "parameters": {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": {"type": "string"}, "description": "What"},
                "values": {"type": "number", "default": 1.0, "maximum": 1e16, "minimum": -2.5e-7},
                "get": {"type": "string", "enum": ["now", "later"], "nullable": True},
            },
            "required": ["items"],
        },
    },
}
CALL = {
    "id": "abcdefghi",
    "type": "function",
    "function": {
        "name": "place_order",
        "arguments": '{"items": ["tea", "<b>\\"milk\\"</b>"], "values": 2.0, "get": null, "é": true}',
    },
}
RESULT = {"role": "tool", "name": "place_order", "tool_call_id": "abcdefghi", "content": "{\"ok\": true}"}
CONTEXTS = {
    "unicode": {"messages": [
        {"role": "system", "content": "  Be terse.\n"},
        {"role": "user", "content": "¿Qué tal, 🦙?\r\n\tZürich's \"<b>\" & \\n {{ 1 }} {% raw %}\n"},
        {"role": "assistant", "content": " Bien. "},
        {"role": "user", "content": ""},
    ]},
    "order": {
        "messages": [
            {"role": "user", "content": "Order tea."},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            RESULT,
        ],
        "tools": [ORDER],
    },
    "reasoning": {"messages": [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4", "reasoning_content": "Two and two."},
        {"role": "user", "content": "3+3?"},
    ]},
    "no_thinking": {"messages": [{"role": "user", "content": "Hi"}], "enable_thinking": False},
    "no_prompt": {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
        "add_generation_prompt": False,
    },
    "two_users": {"messages": [
        {"role": "user", "content": "One"},
        {"role": "user", "content": "Two"},
    ]},
    "parts": {"messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]},
    ]},
}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def with_object_arguments(context):
    context = copy.deepcopy(context)
    for message in context["messages"]:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return context


def render(template, context):
    context = dict(context)
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[context.pop("messages")],
            tools=context.pop("tools", None),
            chat_template=template,
            add_generation_prompt=context.pop("add_generation_prompt", True),
            **context,
        )
    except jinja2.exceptions.TemplateError as error:
        # What the template raised itself has exactly this class.
        if type(error) is jinja2.exceptions.TemplateError:
            return {"raised": str(error)}
        return {"failed": True}
    except Exception:
        return {"failed": True}
    return {"text": rendered[0]}


def main():
    source = pathlib.Path(sys.argv[1])
    chat_template_utils.datetime = Clock
    contexts = {}
    for file in sorted((source / "contexts").glob("*.json")):
        contexts[file.stem] = json.loads(file.read_text())
    contexts |= CONTEXTS
    for context in contexts.values():
        context |= SPECIAL
    TARGET.mkdir(parents=True, exist_ok=True)
    cases = []
    for name, arguments in TEMPLATES.items():
        shutil.copyfile(source / f"{name}.jinja", TARGET / f"{name}.jinja")
        (TARGET / f"{name}.jinja").chmod(0o644)
        # Reading with universal newlines would hide what Jinja does about them.
        template = (source / f"{name}.jinja").read_bytes().decode()
        for key, context in contexts.items():
            case = {"template": name, "context": key, "as_given": render(template, context)}
            if arguments == "object":
                as_object = render(template, with_object_arguments(context))
                if as_object != case["as_given"]:
                    case["with_objects"] = as_object
            cases.append(case)
    goldens = {"now": NOW.isoformat(), "arguments": TEMPLATES, "contexts": contexts, "cases": cases}
    text = json.dumps(goldens, ensure_ascii=False, indent=1)
    (TARGET / "goldens.json").write_text(text + "\n")
    outcomes = [next(iter(case["as_given"])) for case in cases]
    print({outcome: outcomes.count(outcome) for outcome in set(outcomes)}, len(text))


if __name__ == "__main__":
    main()
