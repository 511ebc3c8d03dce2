#!/bin/sh
# Prints the commands of the README's code block that follows the mark `<!-- ci: NAME -->`,
# so that what is run in continuous integration is what the README says.
set -eu
name=${1:?usage: readme_command.sh NAME}
readme=$(dirname "$0")/../README.md
found=$(awk -v mark="<!-- ci: $name -->" '
    $0 == mark { wanted = 1; next }
    wanted && /^```/ { if (inside) exit; inside = 1; next }
    inside { print }
' "$readme")
[ -n "$found" ] || { echo "README.md has no block marked \`ci: $name\`" >&2; exit 1; }
printf '%s\n' "$found"
