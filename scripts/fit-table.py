#!/usr/bin/env python3
"""Print the factors and the errors of a fit to serving runs as two tables in Markdown.

    scripts/fit-table.py sim/cost/vllm-v1.json

A factor of a peak is in per cent of the peak, the others are in µs. Brackets mark factors that the card's rows do not
determine or do not use, * those at their bound. Errors are mean absolute errors in per cent.
"""

import json
import sys

HOST = ["step", "prefill", "layer", "expert_layer", "sequence", "prompt", "all_reduce_latency", "request"]
PEAKS = ["weights", "expert_weights", "gemm", "gemm8", "gemm4", "expert_gemm", "decode_gemm", "attention", "kv", "kv8", "elementwise", "all_reduce"]
ERRORS = [
    ("its rows: TPOT", "tpot_mape"),
    ("TTFT", "ttft_mape"),
    ("throughput", "throughput_mape"),
    ("each half by a fit to the other: TPOT", "cross_tpot_mape"),
    ("throughput", "cross_throughput_mape"),
    ("each source by a fit to the others: TPOT", "other_sources_tpot_mape"),
    ("throughput", "other_sources_throughput_mape"),
    ("the worst of them: TPOT", "worst_source_tpot_mape"),
    ("throughput", "worst_source_throughput_mape"),
    ("each card by a fit to the others: TPOT", "other_cards_tpot_mape"),
    ("throughput", "other_cards_throughput_mape"),
    ("the worst of them: TPOT", "worst_card_tpot_mape"),
    ("throughput", "worst_card_throughput_mape"),
]


def cell(fit, term):
    """Return a factor as in the table."""
    value = fit["factors"][term]
    if term in HOST:
        text = f"{value / 1000:.0f} ms" if term == "request" else f"{value:.0f} µs"
    else:
        text = f"{100 / value:.0f} %"
    if term in fit.get("at_bound", []):
        text += "*"
    determined = term in fit["fitted"] and term not in fit.get("undetermined", [])
    return text if determined else f"({text})"


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main():
    with open(sys.argv[1]) as f:
        profile = json.load(f)
    fits = profile["fits"] + ([profile["all"]] if profile.get("all") else [])
    names = [f["card"] if f["card"] != "any" else "other cards" for f in fits]
    table(["term", *names], [[f"`{t}`", *(cell(f, t) for f in fits)] for t in PEAKS + HOST])
    print()
    rows = []
    for name, key in ERRORS:
        values = [f["quality"].get(key) for f in fits]
        if any(v is not None for v in values):
            rows.append([name, *("" if v is None else f"{100 * v:.1f} %" for v in values)])
    table(["error on", *names], rows)


if __name__ == "__main__":
    main()
