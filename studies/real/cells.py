"""Cells of the study: one JSON line per training, evaluation and measurement of speed. A cell that is in the file is not run again."""

import datetime
import json
import os
import platform
import subprocess
import sys
import time


class Cells:
    """The lines of a results file, by key."""

    def __init__(self, path):
        self.path = path
        lines = path.read_text().split("\n") if path.exists() else []
        self.cells = {cell["cell"]: cell for cell in map(json.loads, filter(None, lines))}

    def __getitem__(self, key):
        return self.cells[key]

    def get(self, key):
        return self.cells.get(key)

    def once(self, key, make):
        """The cell of this key, made and written unless it is there."""
        if key not in self.cells:
            print(f"{datetime.datetime.now():%H:%M:%S} {key}", file=sys.stderr, flush=True)
            self.cells[key] = {"cell": key, **make(), "date": str(datetime.date.today()), "machine": machine()}
            with self.path.open("a") as file:
                file.write(json.dumps(self.cells[key], ensure_ascii=False) + "\n")
        return self.cells[key]


def machine():
    """Processor and number of cores."""
    models = []
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def run(command, log):
    """Runs a command to its end. Its standard output, seconds of the wall, seconds of processor time and peak memory.

    Processor time counts on a machine that others use as well: the wall's seconds do not.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.time()
    with log.open("ab") as errors:
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=errors, text=True)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"exit status {process.returncode} of {' '.join(map(str, command))}\nsee {log}")
    seconds, processor = time.time() - begun, usage.ru_utime + usage.ru_stime
    return output, {"seconds": round(seconds, 1), "processor_seconds": round(processor, 1), "peak_mib": usage.ru_maxrss // 1024}
