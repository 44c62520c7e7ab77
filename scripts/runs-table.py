#!/usr/bin/env python3
"""Print how far kvc sim --cases is off each file of measured serving runs, as a table in Markdown.

    go build -o kvc ./cmd/kvc
    scripts/runs-table.py DIR... --kvc OLD/kvc --kvc ./kvc

Each DIR has files that scripts/measured-runs.py or a log of requests gave. A log named open-loop-CARD_MODEL-vllm.csv is
served as LOGS below states. With several --kvc, each has its columns, so that two builds can be compared. "stated" is the
error to expect, of TPOT, that the output states first.
"""

import argparse
import json
import pathlib
import re
import subprocess

LOGS = {
    "RTX4090_Llama-3.1-8B": ["--model", "llama-3.1-8b", "--gpu", "rtx-4090", "--num-gpu-blocks", "2588"],
    "RTXPRO6000_Llama-3.1-8B": ["--model", "llama-3.1-8b", "--gpu", "rtx-pro-6000"],
    "RTXPRO6000_Qwen3-32B": [
        "--model", "qwen3-32b", "--gpu", "rtx-pro-6000", "--tensor-parallel", "2", "--max-num-seqs", "128"
    ],
}


def errors(kvc, path):
    """Return the cells of a file: rows, refused rows, errors in per cent, and the first stated error of TPOT."""
    log = re.fullmatch(r"open-loop-(.*)-vllm\.csv", path.name)
    settings = LOGS[log.group(1)] if log else []
    run = subprocess.run([kvc, "sim", "--cases", path, "--json", *settings], capture_output=True, text=True, check=False)
    if not run.stdout:
        return ["–", "all", run.stderr.strip().split("\n")[0][:60], "", "", ""]
    out = json.loads(run.stdout)
    s = out["summary"]
    said = " ".join(out["notes"]) + s.get("error_to_expect", "")
    stated = re.search(r"TPOT ([\d.]+) %", said)
    off = [f"{100 * s[key]:.1f} %" if s.get(key) is not None else "" for key in ("tpot_mape", "ttft_mape", "throughput_mape")]
    return [s["rows"], s.get("refused_rows", 0) or "", *off, stated.group(1) + " %" if stated else "not known"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    parser.add_argument("--kvc", action="append", required=True, help="a build of kvc")
    args = parser.parse_args()
    builds = len(args.kvc)
    print("| file | rows | refused |" + " TPOT | TTFT | throughput | stated |" * builds)
    print("|---|---|---|" + "---|" * 4 * builds)
    for path in sorted(p for folder in args.folders for p in folder.glob("*.csv")):
        cells = [errors(kvc, path) for kvc in args.kvc]
        row = [path.stem, *map(str, cells[-1][:2]), *(c for build in cells for c in build[2:])]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
