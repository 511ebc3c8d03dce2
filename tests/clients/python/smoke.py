"""What the client tests share: where the server is, what is asked, how tests are run and counted.

Environment: BASE_URL (ends in /v1).
"""

import json
import os
import sys
import traceback
import urllib.request

BASE_URL = os.environ["BASE_URL"]
ROOT_URL = BASE_URL.removesuffix("/v1")
QUESTION = "Once upon a time, there was a little"
WORDS = ("yes", "no")


def model():
    with urllib.request.urlopen(f"{BASE_URL}/models") as answer:
        return json.load(answer)["data"][0]["id"]


def run(name, tests):
    """Runs every `test_…` of a module; ends the process with 1 if one failed."""
    failed = 0
    tests = [(n, f) for n, f in tests.items() if n.startswith("test_")]
    for test, function in tests:
        try:
            function()
            print(f"ok      {test}")
        except Exception:  # every failure is reported, the rest still runs
            failed += 1
            print(f"FAILED  {test}")
            traceback.print_exc()
    print(f"{name}: {len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
