#!/usr/bin/env bash
# Installs nine MCP servers that nobody here wrote into a folder: scripts/install_mcp_servers.sh FOLDER
#
# Five from npm, four from PyPI, at the versions pinned under tests/mcp. What is there already stays.
# FOLDER/bin has a link to each of them.
set -euo pipefail

place=${1:?usage: install_mcp_servers.sh FOLDER}
pins=$(cd "$(dirname "$0")/../tests/mcp" && pwd)
mkdir -p "$place/node" "$place/bin"
place=$(cd "$place" && pwd)

python_servers() { # environment, list of packages
    local environment=$place/$1 list=$pins/$2
    [ -x "$environment/bin/python" ] || python3 -m venv "$environment"
    cmp --silent "$list" "$environment/installed" && return
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$list"
    cp "$list" "$environment/installed"
}

node_servers() {
    cmp --silent "$pins/package.json" "$place/node/installed" && return
    cp "$pins/package.json" "$place/node/"
    (cd "$place/node" && npm install --silent --no-audit --no-fund)
    cp "$pins/package.json" "$place/node/installed"
}

node_servers
python_servers python requirements.txt
python_servers python-sqlite requirements-sqlite.txt
for folder in node/node_modules/.bin python/bin python-sqlite/bin; do
    for server in "$place/$folder"/mcp-server-*; do
        ln -sf "$server" "$place/bin/"
    done
done
ls "$place/bin"
