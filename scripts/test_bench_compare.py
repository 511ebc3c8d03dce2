#!/usr/bin/env python3
"""Tests of bench_compare.py: honest, doctored and broken files. Run with `python3 scripts/test_bench_compare.py`."""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).with_name("bench_compare.py")


def row(test, speed, wait, concurrency=1):
    def summary(value):
        return {"median": value, "min": value, "max": value}

    return {
        "test": test, "tokens": 64, "depth": 0, "concurrency": concurrency,
        "tokens_per_second": summary(speed), "time_to_first_token_ms": summary(wait),
    }


BASE = {"version": 1, "rows": [row("pp", 1000.0, 64.0), row("tg", 50.0, 20.0), row("tg", 90.0, 40.0, 4)]}


class Compare(unittest.TestCase):
    def compare(self, new, *options, base=BASE):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for name, content in (("base.json", base), ("new.json", new)):
                path = pathlib.Path(folder, name)
                path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
                paths.append(str(path))
            return subprocess.run([sys.executable, str(SCRIPT), *paths, *options], capture_output=True, text=True)

    def changed(self, change):
        new = copy.deepcopy(BASE)
        change(new["rows"])
        return new

    def test_the_same_and_a_little_slower_pass(self):
        self.assertEqual(self.compare(BASE).returncode, 0)
        slower = self.changed(lambda rows: rows[1]["tokens_per_second"].update(median=45.1))
        self.assertEqual(self.compare(slower).returncode, 0)

    def test_fewer_tokens_per_second_fail(self):
        slower = self.changed(lambda rows: rows[2]["tokens_per_second"].update(median=80.0))
        result = self.compare(slower)
        self.assertEqual(result.returncode, 1)
        self.assertIn("tg64 x4", result.stdout)
        self.assertEqual(result.stdout.count("SLOWER"), 1)
        self.assertEqual(self.compare(slower, "--tolerance", "0.2").returncode, 0)

    def test_a_doctored_baseline_fails(self):
        doctored = self.changed(lambda rows: rows[0]["tokens_per_second"].update(median=2000.0))
        self.assertEqual(self.compare(BASE, base=doctored).returncode, 1)

    def test_a_longer_wait_fails(self):
        slower = self.changed(lambda rows: rows[0]["time_to_first_token_ms"].update(median=80.0))
        result = self.compare(slower)
        self.assertEqual(result.returncode, 1)
        self.assertIn("SLOWER: TTFT", result.stdout)

    def test_what_is_no_longer_measured_fails_and_new_rows_pass(self):
        self.assertEqual(self.compare(self.changed(lambda rows: rows.pop())).returncode, 1)
        more = self.changed(lambda rows: rows.append(row("pp", 1.0, 1.0, 9)))
        self.assertEqual(self.compare(more).returncode, 0)

    def test_servers_are_compared_too(self):
        served = {"streams": 8, "answer_tokens": 64, "tokens_per_second": {"median": 90.0}, "time_to_first_token_ms": {"p50": 300.0}}
        base = {**BASE, "served": [served]}
        slower = {**BASE, "served": [{**served, "time_to_first_token_ms": {"p50": 400.0}}]}
        self.assertEqual(self.compare(base, base=base).returncode, 0)
        result = self.compare(slower, base=base)
        self.assertEqual(result.returncode, 1)
        self.assertIn("serve64 x8", result.stdout)

    def test_ratios_are_held_against_the_stored_ones_of_such_a_run(self):
        def report(share, speed, **facts):
            one = {**row("tg", speed, 5.0), "roofline": {"tokens_per_second": speed / share, "share": share}}
            same = {"architecture": "A", "num_parameters": 1, "weight_types": "Q8_0", "instruction_set": "avx2", "threads": 2}
            return {**same, **facts, "rows": [one, row("pp", 9.0, 9.0)]}

        stored = [report(0.9, 10.0, threads=1), report(0.5, 20.0)]
        # Half as fast on a machine that gives half: nothing moved. As fast on one that gives twice as much: it did.
        self.assertEqual(self.compare(report(0.5, 10.0), "--ratios", base=stored).returncode, 0)
        result = self.compare(report(0.25, 20.0), "--ratios", base=stored)
        self.assertEqual(result.returncode, 1)
        self.assertIn("SLOWER: share", result.stdout)
        other = self.compare(report(0.1, 1.0, instruction_set="avx512"), "--ratios", base=stored)
        self.assertEqual(other.returncode, 0)
        self.assertIn("no figures of such a run", other.stdout)
        self.assertEqual(self.compare([1], "--ratios", base=stored).returncode, 2)

    def test_the_stored_baseline_can_be_used(self):
        stored = SCRIPT.with_name("bench_baseline.json")
        for report in json.loads(stored.read_text(encoding="utf-8")):
            result = self.compare(report, "--ratios", base=[report])
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("+0.0%", result.stdout)

    def test_unusable_files_are_told_apart(self):
        zero = self.changed(lambda rows: rows[0]["tokens_per_second"].update(median=0))
        for broken in ("", "[]", "{}", '{"rows": []}', '{"rows": [{"test": "pp"}]}', zero):
            result = self.compare(broken)
            self.assertEqual((result.returncode, result.stdout), (2, ""), broken)
            self.assertIn("new.json", result.stderr)
        self.assertEqual(self.compare(BASE, "--tolerance", "1.5").returncode, 2)


if __name__ == "__main__":
    unittest.main()
