#!/usr/bin/env python3
"""Tests of bench_race.py, bench_report.py and bench_plot.py, without any program to race. Run with
`python3 scripts/test_bench_report.py`."""

import argparse
import json
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

SCRIPTS = pathlib.Path(__file__).parent
sys.path.insert(0, str(SCRIPTS))

import bench_plot  # noqa: E402
import bench_race  # noqa: E402
import bench_report  # noqa: E402


def row(who, test, value, unit="tok/s", job="speed2 q8_0", number=1, **more):
    same = {"job": job, "round": number, "model": "qwen25-0.5b-q8_0", "threads": 2, "clock": "wall"}
    return {"who": who, "test": test, "value": value, "unit": unit, **same, **more}


RACE = [
    row("ours", "pp512", 300.0, share=0.5, limit=600.0), row("llama.cpp", "pp512", 100.0), row("machine", "read_gb", 25.0, "per second"),
    row("ours", "pp512", 500.0, number=2, share=0.8, limit=625.0), row("llama.cpp", "pp512", 110.0, number=2),
    row("ours", "pp512", 400.0, number=3, share=0.7, limit=620.0), row("llama.cpp", "pp512", 90.0, number=3),
    row("ours", "8 streams: first token p50", 500.0, "ms", "server q8_0"), row("llama.cpp", "8 streams: first token p50", 2000.0, "ms", "server q8_0"),
    row("ours", "8 streams: failed", 0, "", "server q8_0"), row("llama.cpp", "8 streams: failed", 0, "", "server q8_0"),
]


def results():
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("".join(json.dumps(it) + "\n" for it in RACE))
        file.flush()
        return bench_report.read(file.name)


class Report(unittest.TestCase):
    def test_medians_and_ratios(self):
        speed, _machine, wait, failed = results()
        self.assertEqual(speed["ours"], {"median": 400.0, "min": 300.0, "max": 500.0, "runs": 3})
        self.assertEqual((speed["share"], speed["limit"]), (0.7, 620.0))
        self.assertEqual(bench_report.ratio(speed), 4.0)
        self.assertEqual(bench_report.ratio(wait), 4.0, "a fourth of the wait")
        self.assertIsNone(bench_report.ratio(failed))

    def test_tables(self):
        text = bench_report.tables(results())
        self.assertIn("| qwen25-0.5b-q8_0 | pp512 | 400 (300–500; 3) | 100 (90–110; 3) | 4.00 | 70% |", text)
        self.assertIn("first token p50, ms | 500 (1) | 2000 (1) | 4.00 |", text)
        self.assertIn("| read_gb | 2 | 25 (25–25) |", text)

    def test_tables_take_their_place_in_a_page(self):
        page = "# A\n<!-- race -->\nold\n<!-- end of the race -->\n# B\n"
        self.assertEqual(bench_report.into(page, "new\n"), "# A\n<!-- race -->\n\nnew\n\n<!-- end of the race -->\n# B\n")
        with self.assertRaises(ValueError):
            bench_report.into("# A\n<!-- race -->\n", "new")

    def test_a_broken_file_is_told(self):
        done = subprocess.run([sys.executable, str(SCRIPTS / "bench_report.py"), "/nowhere"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nowhere", done.stderr)


class Plot(unittest.TestCase):
    def test_bars_are_as_high_as_their_figures(self):
        drawn = xml.etree.ElementTree.fromstring(bench_plot.picture(results()))
        bars = [it for it in drawn.iter("{http://www.w3.org/2000/svg}rect") if it.get("y", "12") != "12"]
        heights = [float(bar.get("height")) for bar in bars]
        self.assertEqual(len(heights), 2)
        self.assertAlmostEqual(heights[0] / heights[1], 4.0, delta=0.02)

    def test_nothing_to_draw_is_told(self):
        self.assertIsNone(bench_plot.picture([]))

    def test_the_committed_results_are_drawn(self):
        for file in sorted((SCRIPTS.parent / "docs/benchmarks").glob("*.json")):
            drawn = bench_plot.picture(json.loads(file.read_text(encoding="utf-8")))
            self.assertEqual(drawn, file.with_suffix(".svg").read_text(encoding="utf-8"), f"draw {file.name} anew")


class Race(unittest.TestCase):
    """Programs that print what the real ones would."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        one = {"test": "pp", "tokens": 512, "depth": 0, "concurrency": 1, "tokens_per_second": {"median": 10.0}, "roofline": None}
        self.program("mistralrs-server", json.dumps({"rows": [one], "machine": {"read_gb": 5.0, "int8_gop": None}}))
        self.program("llama-bench", json.dumps([{"n_prompt": 512, "n_gen": 0, "avg_ts": 7.0}]))
        (self.folder / "qwen25-0.5b-q8_0.gguf").touch()
        args = argparse.Namespace(ours=self.folder / "mistralrs-server", llama=self.folder, models=self.folder, out=self.folder / "out", cpu_clock=None)
        self.race = bench_race.Race(args)

    def program(self, name, prints):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def test_a_job_is_recorded_once(self):
        self.assertEqual(bench_race.done_jobs(self.race.out), set())
        bench_race.run_job(self.race, "speed2 q8_0", 1, bench_race.JOBS["speed2 q8_0"])
        rows = [json.loads(line) for line in self.race.out.read_text(encoding="utf-8").splitlines()]
        self.assertEqual([(it["who"], it["test"], it["value"]) for it in rows],
                         [("ours", "pp512", 10.0), ("machine", "read_gb", 5.0), ("llama.cpp", "pp512", 7.0)])
        self.assertEqual(bench_race.done_jobs(self.race.out), {("speed2 q8_0", 1)})

    def test_what_fails_leaves_nothing(self):
        self.program("llama-bench", "no JSON")
        with self.assertRaises(ValueError):
            bench_race.run_job(self.race, "speed2 q8_0", 1, bench_race.JOBS["speed2 q8_0"])
        self.assertFalse(self.race.out.exists())

    def test_rounds_go_around(self):
        order = [(name, number) for name, number, _ in bench_race.planned(["speed2 q"], 2)]
        names = ["speed2 q4_k_m", "speed2 q8_0", "speed2 q4_0"]
        self.assertEqual(order, [(name, number) for number in (1, 2) for name in names])


if __name__ == "__main__":
    unittest.main()
