#!/usr/bin/env bash
# Runs the official openai clients against a server: scripts/test_clients.sh BINARY MODEL
#
# Installs both clients, at the versions pinned under tests/clients, under the target folder; starts the
# server twice on free ports (once with an API key), waits until it is ready, runs both test scripts,
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

install_clients() {
    mkdir -p "$place/node"
    [ -x "$place/venv/bin/python" ] || python3 -m venv "$place/venv"
    "$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        -r "$root/tests/clients/python/requirements.txt"
    cp "$root/tests/clients/node/package.json" "$root/tests/clients/node/test.mjs" "$place/node/"
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
wait_until_ready "$port" "${pids[0]}" "$place/server.log"
wait_until_ready "$secured" "${pids[1]}" "$place/secured.log"

export BASE_URL=http://127.0.0.1:$port/v1 SECURED_URL=http://127.0.0.1:$secured/v1 SECURED_KEY=$key
result=0
"$place/venv/bin/python" "$root/tests/clients/python/test_openai.py" || result=1
(cd "$place/node" && node test.mjs) || result=1

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
