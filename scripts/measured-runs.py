#!/usr/bin/env python3
"""Make files for kvc sim --cases from published measurements of serving, to compare projections with runs that no fit had.

    scripts/measured-runs.py silicon_sample.csv -o DIR   # of ai-dynamo/aiconfigurator, aic-core/src/aiconfigurator_core/systems
    scripts/measured-runs.py All_results.csv -o DIR      # of argonne-lcf/LLM-Inference-Bench, Plots
    scripts/measured-runs.py requests.jsonl -o DIR       # of casys-kaist/LLMServingSim, bench/examples/CARD/MODEL/vllm

The first gives a file of closed loops for each server, model, card and format of the weights. It leaves out runs with
separate servers for prefill and decode, and with data-parallel attention, neither of which is a row's own column, rows
that repeat another, and those of DeepSeek that may have had speculation. Attention is data-parallel too where the experts
are on more cards than tp_size says. Runs of InferenceMAX (SemiAnalysisAI/InferenceX) get the settings that its scripts
state, NVIDIA's own those of its benchmark. With --half fit or --half held, the files have only the rows of one half: a
bit of the CRC-32 of a row's settings says which.

The second gives files of batches, of vLLM and TensorRT-LLM on A100 and H100, for each server, model and card, and halves
likewise. They were measured until September 2024: vLLM was V0 then.

The third gives the log of requests, by the clock of the server, as open-loop-CARD_MODEL-vllm.csv, or as log.csv where
the path does not have the repository's folders.
"""

import argparse
import collections
import csv
import json
import pathlib
import re
import zlib

COLUMNS = (
    "backend,version,model,card,tp,weights,kv_dtype,max_num_batched_tokens,isl,osl,concurrency,num_requests,"
    "prefill_first,length_spread,distinct_prompts,ttft_ms,tpot_ms"
).split(",")
BATCH_COLUMNS = "backend,card,tp,model,isl,osl,batch,latency_s".split(",")
WEIGHTS = {"": "bf16", "fp8": "fp8", "fp8_block": "fp8", "nvfp4": "nvfp4", "int4_wo": "int4"}
# Names of models in this project. Any other name is the published model's in lower case.
MODELS = {
    "deepseek-r1": "deepseek-v3",
    "glm-5": "glm-5-fp8",
    "llama-3.1-8b-instruct": "llama-3.1-8b",
    "llama-3.1-8b-instruct-fp8": "llama-3.1-8b",
    "qwen3-235b-a22b-fp8": "qwen3-235b-a22b",
    "qwen3-32b-nvfp4": "qwen3-32b",
}

# Models that InferenceX measures with and without multi-token prediction (benchmarks/*/*_mtp.sh).
SPECULATION = {"deepseek-v3", "qwen3.5-397b-a17b"}

# Names of LLM-Inference-Bench. Llama-3 and Qwen2 have the layers of later models.
BATCH_MODELS = {
    "meta-llama/Llama-2-7b-hf": "llama-2-7b",
    "meta-llama/Llama-2-70b-hf": "llama-2-70b",
    "meta-llama/Meta-Llama-3-8B": "llama-3.1-8b",
    "meta-llama/Meta-Llama-3-70B": "llama-3.1-70b",
    "mistralai/Mistral-7B-v0.1": "mistral-7b",
    "mistralai/Mixtral-8x7B-v0.1": "mixtral-8x7b",
    "Qwen/Qwen2-7B": "qwen2.5-7b",
    "Qwen/Qwen2-72B": "qwen2.5-72b",
}
BATCH_CARDS = {"Nvidia A100 GPU": "a100-40gb", "Nvidia H100 GPU": "h100"}
BATCH_SERVERS = {"vLLM": "vllm-v0", "TensorRT-LLM": "trtllm"}


def inferencemax(model, card, row):
    """Return the settings of a run of InferenceMAX that its scripts state: lengths, KV format, tokens of a batch, cards.

    utils/bench_serving/benchmark_serving.py draws lengths uniformly from 0.8 to 1 of isl and osl. The scripts of
    Llama-3.1-70B (benchmarks/70b_*, before commit 2582bce40) set kv-cache-dtype fp8 on every card, those of gpt-oss
    (benchmarks/single_node/fixed_seq_len/deprecated/gptoss_*) on the B200 only. Both set max-num-batched-tokens 8192
    in vLLM; in TensorRT-LLM max_num_tokens is 16384 and 20000. Those of DeepSeek (fixed_seq_len/dsr1_*) set SGLang's
    chunked-prefill-size, and its kv-cache-dtype fp8_e4m3 except on the H200; those of Qwen3.5 (qwen3.5_*) likewise, in
    fp8 and nvfp4, and those of GLM-5 (deprecated/glm5_*) on the B200 and B300. From vLLM 0.18 on, those of MiniMax-M2.5
    (deprecated/minimaxm2.5_*) and of Kimi-K2.5 in nvfp4 (deprecated/kimik2.5_fp4_*) set kv-cache-dtype fp8 and
    max-num-batched-tokens 2 * isl on the B200 and B300.
    Other settings are left out.
    """
    cards, experts = int(row["tp_size"]), int(row["moe_ep_size"] or 1)
    if experts > 1 and not re.search(r"source_file=(2026-03-25|\S*gap-analysis)\.csv", row["silicon_data_source"]):
        cards //= experts  # tp_size is a product in the other dumps: tp 16 and ep 4 take the time of four cards
    kv, tokens = "", ""
    recent = row["backend_version"] >= "0.18"  # as texts: these models' versions are 0.15 to 0.19, and "nightly" is later
    llama, gpt = model == "llama-3.1-70b", model.startswith("gpt-oss")
    if model == "deepseek-v3" and row["backend"] == "sglang":
        kv = "" if card == "h200" else "fp8_e4m3"
        tokens = 16384 if row["gemm_quant_mode"] == "nvfp4" else 8192 if cards == 4 else 32768
    elif model == "qwen3.5-397b-a17b":
        kv = "fp8_e4m3" if row["gemm_quant_mode"] else ""
        tokens = 32768 if card == "b200" or row["gemm_quant_mode"] != "fp8" else 16384
    elif model == "glm-5-fp8" and card != "h200":
        kv, tokens = "fp8_e4m3", 32768
    elif model in ("minimax-m2.5", "kimi-k2.5") and card in ("b200", "b300") and recent:
        kv, tokens = "fp8_e4m3", 2 * int(row["isl"])
    elif llama or gpt:
        kv = "fp8_e4m3" if llama or card == "b200" else ""
        tokens = 8192 if row["backend"] == "vllm" else 16384 if llama else 20000
    return round(0.9 * int(row["isl"])), round(0.9 * int(row["osl"])), kv, tokens, cards


def schedule(model, row, own):
    """Return what decides a run's schedule beside its lengths: prefill_first, length_spread and distinct_prompts.

    aiperf, which measured NVIDIA's own runs, has 100 distinct prompts (num-dataset-entries), and each request has one of
    them at random. The times of Llama-3.1-8B in fp8 by vLLM show that its prefix cache was on. SGLang's server of
    Llama-3.1-8B, 0.5.6, mixed prompts with decode steps (--enable-mixed-chunk, as aiconfigurator's generator sets).
    """
    if not own:  # other servers' lengths are taken to vary by about as much
        return "", "0.111" if row["backend"] == "sglang" else "", ""
    if row["backend"] == "vllm" and row["gemm_quant_mode"] == "fp8" and model == "llama-3.1-8b":
        return "", "", 100
    if row["backend"] == "sglang" and model == "llama-3.1-8b":
        return "false", "", ""
    return "", "", ""


def closed_loops(path, half):
    """Return the rows of silicon_sample.csv, by server, model, card and format."""
    files = collections.defaultdict(dict)
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            if row["mode"] != "agg" or row["attention_dp_size"] not in ("", "0", "1"):
                continue
            if row["attention_dp_size"] == "" and int(row["moe_tp_size"] or 1) * int(row["moe_ep_size"] or 1) > int(row["tp_size"]):
                continue
            name = row["model_path"].split("/")[-1].lower()
            model = MODELS.get(name, name)
            card = row["system"].removesuffix("_sxm")
            # gpt-oss has its own format, despite the column.
            weights = "" if model.startswith("gpt-oss") else WEIGHTS[row["gemm_quant_mode"]]
            own = row["silicon_data_source"].startswith("source_file=/")  # NVIDIA's own run
            stated = re.search(r"silicon_concurrency=(\d+)", row["silicon_data_source"])
            if own and not stated:
                continue  # batch_size is what a planner assumed, not the clients that there were
            clients = int(stated.group(1) if stated else row["batch_size"])
            if model in SPECULATION and "db-dump/2026-04-27" not in row["silicon_data_source"] and not own:
                continue  # some have speculation, which no column says; the dump of 2026-04-27 has none
            if model == "deepseek-v3" and row["backend"] == "sglang" and measured(row) < "2026-01-21":
                continue  # without a warm-up (InferenceX's commit d053ae24e): the first requests wait until kernels are compiled
            if model == "gpt-oss-120b" and clients == 512:
                continue  # TPOT is that of 4 to 64 clients, and TTFT minutes: a limit that is not stated held most back
            isl, osl, kv, tokens, cards, requests = int(row["isl"]), int(row["osl"]), "", "", row["tp_size"], ""
            if not own:
                isl, osl, kv, tokens, cards = inferencemax(model, card, row)
                requests = 10 * clients
            version = "" if row["backend_version"].startswith("nightly") else row["backend_version"]
            settings = [row["backend"], version, model, card, cards, weights, kv, tokens, isl, osl, clients, requests]
            if half and half_of(settings) != half:
                continue
            if own and row["backend"] == "trtllm":  # NVIDIA's checkpoints in fp8 have a cache in fp8; authors', in blocks, do not
                settings[6] = "fp8_e4m3" if weights == row["gemm_quant_mode"] == "fp8" else "bf16"
            order = schedule(model, row, own)
            if order[2]:
                settings[11] = 20 * clients  # aiconfigurator's bench_run.sh
            settings += order
            ttft, tpot = row["silicon_ttft_ms"], row["silicon_tpot_ms"]
            # The dumps repeat runs, some rounded.
            key = (*settings, f"{float(ttft):.2f}", f"{float(tpot):.2f}")
            files[row["backend"], model, card, weights or "own"].setdefault(key, [*settings, ttft, tpot])
    return {name: rows.values() for name, rows in files.items()}


def measured(row):
    """Return the day on which a run was measured, as 2026-01-31; empty if it is not stated."""
    return "".join(re.findall(r"measured=(\d{4}-\d{2}-\d{2})", row["silicon_data_source"]))


def half_of(settings):
    """Return the half to which a row with these settings belongs."""
    return ("fit", "held")[zlib.crc32(",".join(map(str, settings)).encode()) & 1]


def batches(path, half):
    """Return the rows of All_results.csv, by server, model and card."""
    files = collections.defaultdict(list)
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            server, card = BATCH_SERVERS.get(row["Framework"]), BATCH_CARDS.get(row["Hardware"])
            model = BATCH_MODELS.get(row["Model"])
            if not (server and card and model):
                continue
            length = int(row["Input Output Length"])
            settings = [server, card, row["Num of Hardware"], model, length, length, int(row["Batch Size"])]
            if not half or half_of(settings) == half:
                files["batch", server, model, card].append([*settings, row["Latency"]])
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
    parser.add_argument("--half", choices=["fit", "held"], help="only the rows that the shipped fits have, or only the others")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.file.suffix == ".jsonl":
        columns = "request_id,arrival_s,input_tokens,output_tokens,measured_ttft_ms,measured_tpot_ms,measured_e2e_s"
        name = "log.csv"
        if args.file.parent.name == "vllm":  # as in the repository: CARD/MODEL/vllm
            model = args.file.parent.parent
            name = f"open-loop-{model.parent.name}_{model.name}-vllm.csv"
        write(args.folder / name, columns.split(","), log(args.file))
        return
    of, columns = closed_loops, COLUMNS
    with open(args.file, newline="") as f:
        if "Input Output Length" in next(csv.reader(f)):
            of, columns = batches, BATCH_COLUMNS
    for name, rows in of(args.file, args.half).items():
        write(args.folder / ("-".join(name) + ".csv"), columns, rows)


if __name__ == "__main__":
    main()
