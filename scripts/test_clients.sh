#!/usr/bin/env bash
# Runs clients that agents are built with against a server: scripts/test_clients.sh BINARY MODEL
#
# openai (Python, npm), anthropic, LangChain, Pydantic AI, LlamaIndex, Vercel's AI SDK.
#
# Pictures and sounds go to two more servers, with tiny models that see and hear.
#
# Installs them, at the versions pinned under tests/clients, under the target folder; starts the
# servers on free ports (one with an API key), waits until it is ready, runs the test scripts,
# and ends the servers by their process ids. They must end in peace: exit code 0 after SIGTERM.
set -euo pipefail

binary=${1:?usage: test_clients.sh BINARY MODEL}
model=${2:?usage: test_clients.sh BINARY MODEL}
root=$(cd "$(dirname "$0")/.." && pwd)
place=${CARGO_TARGET_DIR:-$root/target}/test-clients
key=a-secret-for-this-test
pids=()

end_servers() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
}
trap end_servers EXIT

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

install_python() { # environment, requirements
    [ -x "$place/$1/bin/python" ] || python3 -m venv "$place/$1"
    "$place/$1/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
        -r "$root/tests/clients/python/$2"
}

install_clients() {
    mkdir -p "$place/node"
    # LlamaIndex wants an older openai than the others: it gets an environment of its own.
    install_python venv requirements.txt
    install_python venv-llamaindex requirements-llamaindex.txt
    cp "$root"/tests/clients/node/package.json "$root"/tests/clients/node/*.mjs "$place/node/"
    (cd "$place/node" && npm install --silent --no-audit --no-fund)
}

wait_until_ready() { # port, process id, log
    for _ in $(seq 600); do
        if curl --silent --fail --output /dev/null "http://127.0.0.1:$1/health"; then
            return 0
        fi
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    echo "the server on port $1 did not get ready; its output:" >&2
    cat "$3" >&2
    return 1
}

install_clients

port=$(free_port)
"$binary" --port "$port" -m "$model" >"$place/server.log" 2>&1 &
pids+=($!)
secured=$(free_port)
"$binary" --port "$secured" --api-key "$key" -m "$model" >"$place/secured.log" 2>&1 &
pids+=($!)
export FIXTURES=$root/mistralrs-testkit/fixtures
export SEEING_FILES=$FIXTURES/qwen2.5-vl/images STUB_PORT
STUB_PORT=$(free_port)
seeing=$(free_port)
"$binary" --port "$seeing" --allowed-media-path "$SEEING_FILES" --allowed-media-host "127.0.0.1:$STUB_PORT" \
    -m "$FIXTURES/qwen2.5-vl" >"$place/seeing.log" 2>&1 &
pids+=($!)
hearing=$(free_port)
"$binary" --port "$hearing" -m "$FIXTURES/gemma3n-media" >"$place/hearing.log" 2>&1 &
pids+=($!)
wait_until_ready "$port" "${pids[0]}" "$place/server.log"
wait_until_ready "$secured" "${pids[1]}" "$place/secured.log"
wait_until_ready "$seeing" "${pids[2]}" "$place/seeing.log"
wait_until_ready "$hearing" "${pids[3]}" "$place/hearing.log"

export BASE_URL=http://127.0.0.1:$port/v1 SECURED_URL=http://127.0.0.1:$secured/v1 SECURED_KEY=$key
export SEEING_URL=http://127.0.0.1:$seeing/v1 HEARING_URL=http://127.0.0.1:$hearing/v1
result=0
export PYTHONDONTWRITEBYTECODE=1
for client in openai media anthropic langchain pydantic_ai; do
    "$place/venv/bin/python" "$root/tests/clients/python/test_$client.py" || result=1
done
"$place/venv-llamaindex/bin/python" "$root/tests/clients/python/test_llamaindex.py" || result=1
for client in test ai; do
    (cd "$place/node" && node "$client.mjs") || result=1
done

end_servers
for pid in "${pids[@]}"; do
    code=0
    wait "$pid" || code=$?
    if [ "$code" -ne 0 ]; then
        echo "a server ended with code $code after SIGTERM" >&2
        result=1
    fi
done
pids=()
if [ "$result" -ne 0 ]; then
    tail -n 40 "$place/server.log" >&2
fi
exit "$result"
