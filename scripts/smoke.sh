#!/usr/bin/env bash
# Does what the README says a stranger should do: its run command, then its three requests.
# Uses another port when 1234 is taken. Ends the server by its process id.
set -euo pipefail
cd "$(dirname "$0")/.."
log=${CARGO_TARGET_DIR:-target}/smoke.log
port=1234
server=

end_server() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
    fi
}
trap end_server EXIT

if curl --silent --output /dev/null --max-time 2 "http://127.0.0.1:$port/"; then
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    echo "port 1234 is taken; using $port"
fi
readme() {
    scripts/readme_command.sh "$1" | sed "s/1234/$port/g"
}

run=$(readme run)
echo "$run"
# `cargo run` becomes the server: its process id is the server's.
bash -c "exec $run" >"$log" 2>&1 &
server=$!
for _ in $(seq 3600); do
    if curl --silent --fail --output /dev/null "http://127.0.0.1:$port/health"; then
        ready=yes
        break
    fi
    if ! kill -0 "$server" 2>/dev/null; then
        break
    fi
    sleep 0.5
done
if [ "${ready:-no}" != yes ]; then
    echo "the server did not get ready; its output:" >&2
    cat "$log" >&2
    exit 1
fi

expect() { # text that must be in the output, name of the README's block
    local output
    output=$(bash -c "$(readme "$2")")
    if ! grep --quiet --fixed-strings -- "$1" <<<"$output"; then
        printf 'README block %s: no %s in:\n%s\n' "$2" "$1" "$output" >&2
        return 1
    fi
    echo "ok      README block $2"
}
expect 'Oslo' chat
expect 'Hello' stream
expect ' Paris' completion

kill "$server"
code=0
wait "$server" || code=$?
server=
if [ "$code" -ne 0 ]; then
    echo "the server ended with code $code after SIGTERM" >&2
    exit 1
fi
echo "ok      ended in peace after SIGTERM"
