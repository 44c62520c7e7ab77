#!/usr/bin/env python3
"""Print how far kvc sim --cases is off each file of measured serving runs, as a table in Markdown.

    go build -o kvc ./cmd/kvc
    scripts/runs-table.py DIR... --kvc OLD/kvc --kvc ./kvc

Each DIR has files that scripts/measured-runs.py or a log of requests gave. A log named open-loop-CARD_MODEL-vllm.csv is
served as LOGS below states. With several --kvc, each has its columns, so that two builds can be compared. "stated" are
the errors to expect, of TPOT, that the output states: on rows like those of its fit, on runs unlike them, and at worst;
of a card without rows, on average and at worst. A second table has, by the last build, the means over the files of each
server and card, over their rows and over files; "TPOT below" and "throughput below" are in how many files this error is
at most the last of its stated errors.
"""

import argparse
import collections
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
    """Return the summary of a file and the stated errors of TPOT and of throughput; the reason if there is no summary."""
    log = re.fullmatch(r"open-loop-(.*)-vllm\.csv", path.name)
    settings = LOGS[log.group(1)] if log else []
    run = subprocess.run([kvc, "sim", "--cases", path, "--json", *settings], capture_output=True, text=True, check=False)
    if not run.stdout:
        return run.stderr.strip().split("\n")[0][:60], {}
    out = json.loads(run.stdout)
    s = out["summary"]
    said = " ".join(out["notes"]) + s.get("error_to_expect", "")
    said = re.sub(r"TPOT [\d.]+ % and throughput [\d.]+ % over rows left out", "", said)
    stated = {"tpot_mape": re.findall(r"TPOT ([\d.]+) %", said), "throughput_mape": re.findall(r"throughput ([\d.]+) %", said)}
    return s, stated


KEYS = ["tpot_mape", "ttft_mape", "throughput_mape"]


def cells(summary, stated):
    """Return the cells of a file: errors in per cent, and the stated ones."""
    if isinstance(summary, str):
        return [summary, "", "", ""]
    off = [f"{100 * summary[key]:.1f} %" if summary.get(key) is not None else "" for key in KEYS]
    return [*off, ", ".join(stated["tpot_mape"]) + " %" if stated["tpot_mape"] else "not known"]


def means(files):
    """Print the means over the files of each server and card."""
    print("\n| server | card | files | rows | TPOT, of rows | of files | throughput, of rows | of files | TPOT below | throughput below |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (server, card), group in sorted(files.items()):
        row = [server, card, len(group), sum(s["rows"] - s.get("refused_rows", 0) for s, _ in group)]
        for key in ("tpot_mape", "throughput_mape"):
            known = [(s[key], s["rows"] - s.get("refused_rows", 0)) for s, _ in group if s.get(key) is not None]
            if known:
                row.append(f"{100 * sum(e * n for e, n in known) / sum(n for _, n in known):.1f} %")
                row.append(f"{100 * sum(e for e, _ in known) / len(known):.1f} %")
            else:
                row += ["", ""]
        for key in ("tpot_mape", "throughput_mape"):
            said = [(s[key], float(stated[key][-1])) for s, stated in group if stated[key] and s.get(key) is not None]
            row.append(f"{sum(100 * off <= worst for off, worst in said)} of {len(said)}" if said else "")
        print("| " + " | ".join(map(str, row)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    parser.add_argument("--kvc", action="append", required=True, help="a build of kvc")
    args = parser.parse_args()
    builds = len(args.kvc)
    print("| file | rows | refused |" + " TPOT | TTFT | throughput | stated |" * builds)
    print("|---|---|---|" + "---|" * 4 * builds)
    files = collections.defaultdict(list)
    for path in sorted(p for folder in args.folders for p in folder.glob("*.csv")):
        of = [errors(kvc, path) for kvc in args.kvc]
        last = of[-1][0]
        row = ["–", "all"]
        if not isinstance(last, str):
            row = [last["rows"], last.get("refused_rows", 0) or ""]
            server_card = re.match(r"(batch-vllm-v0|batch-trtllm|[a-z]+)-.*?-((?:[abgh]+\d+)(?:-\d+gb)?)\b", path.stem)
            if server_card:
                files[server_card.groups()].append(of[-1])
        print("| " + " | ".join([path.stem, *map(str, row), *(c for build in of for c in cells(*build))]) + " |", flush=True)
    means(files)


if __name__ == "__main__":
    main()
