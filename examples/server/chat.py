#!/usr/bin/env python3
"""A conversation with a running server through the official client.

    chat.py [http://127.0.0.1:1234]

Reads questions from standard input, one per line, and prints the answers as they come.
"""

import os
import sys

from openai import OpenAI, OpenAIError

server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:1234"
client = OpenAI(base_url=f"{server}/v1", api_key=os.environ.get("OPENAI_API_KEY", "none"))
messages = []

for line in sys.stdin:
    messages.append({"role": "user", "content": line.strip()})
    answer = ""
    try:
        for chunk in client.chat.completions.create(model="default", messages=messages, stream=True, max_tokens=200):
            text = chunk.choices[0].delta.content if chunk.choices else None
            if text:
                answer += text
                print(text, end="", flush=True)
    except OpenAIError as error:
        sys.exit(f"the server said no: {error}")
    print()
    messages.append({"role": "assistant", "content": answer})
