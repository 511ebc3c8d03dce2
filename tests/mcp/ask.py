"""Asks one question with the official client, whole and streamed: ask.py BASE_URL MCP_SERVER QUESTION. Prints both
answers as a list in JSON."""

import json
import sys

from openai import OpenAI

url, server, question = sys.argv[1:]
client = OpenAI(base_url=url, api_key="none", timeout=120)
request = dict(
    model="default",
    messages=[{"role": "user", "content": question}],
    max_tokens=100,
    temperature=0,
    extra_body={"mcp": {"servers": [server]}},
)
whole = client.chat.completions.create(**request).choices[0].message.content
chunks = client.chat.completions.create(**request, stream=True)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
print(json.dumps([whole, streamed]))
