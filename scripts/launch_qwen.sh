#!/usr/bin/env bash
# Starts the server with Qwen2.5-1.5B-Instruct Q4_K_M from a GGUF file.
# scripts/launch_qwen.sh [--port N] [--mcp CONFIG] [--binary FILE] [--model FILE]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
port=1234
binary=$root/target/release/mistralrs-server
model=${QWEN_GGUF:-$HOME/models/qwen2.5-1.5b-instruct-q4_k_m.gguf}

error() {
    echo "[ERROR] $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || error "$1 needs a value (options: --port, --mcp, --binary, --model)"
    case $1 in
    --port) port=$2 ;;
    --mcp)
        [ -f "$2" ] || error "no MCP configuration at $2"
        export MCP_CONFIG_PATH=$2
        ;;
    --binary) binary=$2 ;;
    --model) model=$2 ;;
    *) error "unknown option $1 (options: --port, --mcp, --binary, --model)" ;;
    esac
    shift 2
done
[ -x "$binary" ] || error "no server at $binary; run: make build-server"
[ -f "$model" ] || error "no model at $model; name one with --model or QWEN_GGUF"
exec "$binary" --port "$port" gguf -m "$(dirname "$model")" -f "$(basename "$model")"
