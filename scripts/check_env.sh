#!/bin/sh
# Says which tools are installed; fails when one that the build needs is missing.
# Arguments, from the Makefile: platform, path of nvcc (may be empty).
set -u
missing=0

needed() {
    if version=$("$@" 2>/dev/null | head -n 1) && [ -n "$version" ]; then
        printf '%-8s %s\n' "$1" "$version"
    else
        printf '%-8s MISSING (needed)\n' "$1"
        missing=1
    fi
}

wished() {
    if version=$("$@" 2>/dev/null | head -n 1) && [ -n "$version" ]; then
        printf '%-8s %s\n' "$1" "$version"
    else
        printf '%-8s not found\n' "$1"
    fi
}

printf '%-8s %s\n' platform "${1:-unknown}"
needed cargo --version
needed rustc --version
needed git --version
echo 'For `make test-clients` and `.ci/run`:'
wished python3 --version
wished node --version
wished npm --version
wished curl --version
echo 'For `make build-cuda-full`:'
if [ -n "${2:-}" ]; then
    printf '%-8s %s\n' nvcc "$2"
else
    printf '%-8s not found\n' nvcc
fi
exit "$missing"
