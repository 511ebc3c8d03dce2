#!/usr/bin/env bash
# Asks a running server five things. Usage: curl.sh [http://127.0.0.1:1234]
set -euo pipefail
server=${1:-http://127.0.0.1:1234}

ask() { # path [body]
    printf '\n== %s\n' "$1"
    curl --silent --show-error --no-buffer --fail-with-body \
        --header 'Content-Type: application/json' \
        ${OPENAI_API_KEY:+--header "Authorization: Bearer $OPENAI_API_KEY"} \
        ${2:+--data "$2"} "$server$1"
    echo
}

ask /v1/models
ask /v1/chat/completions '{"model": "default", "max_tokens": 30,
    "messages": [{"role": "user", "content": "Tell me a story about a dog."}]}'
ask /v1/chat/completions '{"model": "default", "max_tokens": 10, "stream": true,
    "messages": [{"role": "user", "content": "And one about a cat."}]}'
ask /v1/completions '{"model": "default", "prompt": "Once upon a time", "max_tokens": 20, "temperature": 0}'
ask /tokenize '{"text": "Once upon a time"}'
