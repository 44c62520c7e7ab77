#!/usr/bin/env python3
"""Make files for kvc sim --cases from published measurements of serving, to compare projections with runs that no fit had.

    scripts/measured-runs.py silicon_sample.csv -o DIR   # of ai-dynamo/aiconfigurator, aic-core/src/aiconfigurator_core/systems
    scripts/measured-runs.py requests.jsonl -o DIR       # of casys-kaist/LLMServingSim, bench/examples/CARD/MODEL/vllm

The first gives a file of closed loops for each server, model, card and format of the weights. It leaves out runs with
separate servers for prefill and decode, and with data-parallel attention, neither of which is a row's own column. The
second gives the log of requests as log.csv, by the clock of the server.
"""

import argparse
import collections
import csv
import json
import pathlib
import re

COLUMNS = "backend,version,model,card,tp,weights,isl,osl,concurrency,ttft_ms,tpot_ms".split(",")
WEIGHTS = {"": "bf16", "fp8": "fp8", "fp8_block": "fp8", "nvfp4": "nvfp4", "int4_wo": "int4"}
# Names of models in this project. Any other name is the published model's in lower case.
MODELS = {
    "deepseek-r1": "deepseek-v3",
    "llama-3.1-8b-instruct": "llama-3.1-8b",
    "llama-3.1-8b-instruct-fp8": "llama-3.1-8b",
    "qwen3-235b-a22b-fp8": "qwen3-235b-a22b",
}


def closed_loops(path):
    """Return the rows of silicon_sample.csv, by server, model, card and format."""
    files = collections.defaultdict(list)
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            if row["mode"] != "agg" or row["attention_dp_size"] not in ("", "0", "1"):
                continue
            name = row["model_path"].split("/")[-1].lower()
            model = MODELS.get(name, name)
            card = row["system"].removesuffix("_sxm")
            # gpt-oss has its own format, despite the column.
            weights = "" if model.startswith("gpt-oss") else WEIGHTS[row["gemm_quant_mode"]]
            stated = re.search(r"silicon_concurrency=(\d+)", row["silicon_data_source"])
            clients = stated.group(1) if stated else row["batch_size"]
            files[row["backend"], model, card, weights or "own"].append(
                [row["backend"], row["backend_version"], model, card, row["tp_size"], weights, row["isl"], row["osl"],
                 clients, row["silicon_ttft_ms"], row["silicon_tpot_ms"]])
    return files


def log(path):
    """Return the rows of a log of LLMServingSim's benchmark."""
    with open(path) as f:
        requests = sorted((json.loads(line) for line in f), key=lambda r: r["arrival_time"])
    first = requests[0]["arrival_time"]
    for r in requests:
        ttft, whole = r["first_token_ts"] - r["queued_ts"], r["last_token_ts"] - r["queued_ts"]
        tpot = (whole - ttft) / max(1, r["output_toks"] - 1)
        yield [r["request_id"], f"{r['arrival_time'] - first:.6f}", r["input_toks"], r["output_toks"],
               f"{1e3 * ttft:.3f}", f"{1e3 * tpot:.4f}", f"{whole:.4f}"]


def write(path, columns, rows):
    with open(path, "w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("-o", dest="folder", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.file.suffix == ".jsonl":
        columns = "request_id,arrival_s,input_tokens,output_tokens,measured_ttft_ms,measured_tpot_ms,measured_e2e_s"
        write(args.folder / "log.csv", columns.split(","), log(args.file))
        return
    for name, rows in closed_loops(args.file).items():
        write(args.folder / ("-".join(name) + ".csv"), COLUMNS, rows)


if __name__ == "__main__":
    main()
