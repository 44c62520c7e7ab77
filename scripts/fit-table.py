#!/usr/bin/env python3
"""Print the factors and the errors of a fit to serving runs as two tables in Markdown.

    scripts/fit-table.py sim/cost/vllm-v1.json

A factor of a peak is in per cent of the peak, the others are in µs. Brackets mark factors that the card's rows do not
determine or do not use, * those at their bound. Errors are mean absolute errors in per cent.
"""

import json
import sys

HOST = (
    "step prefill layer expert_layer expert_layer_unpacked expert_layer8 expert_layer8x4 expert_layer4 latent_layer indexer_layer sequence prompt "
    "all_reduce_latency request"
).split()
PEAKS = (
    "weights expert_weights gemm gemm8 gemm4 expert_gemm expert_gemm_unpacked expert_gemm8 expert_gemm8x4 expert_gemm4 decode_gemm attention kv kv8 "
    "elementwise all_reduce"
).split()
ERRORS = [  # what an error is on, and the prefix of its keys
    ("its rows", ""),
    ("each half by a fit to the other", "cross_"),
    ("each source by a fit to the others", "other_sources_"),
    ("the worst of them", "worst_source_"),
    ("each card by a fit to the others", "other_cards_"),
    ("the worst of them", "worst_card_"),
]
TIMES = [("TPOT", "tpot_mape"), ("TTFT", "ttft_mape"), ("throughput", "throughput_mape")]


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
    for on, prefix in ERRORS:
        for time, key in TIMES:
            values = [f["quality"].get(prefix + key) for f in fits]
            if any(v is not None for v in values):
                name = f"{on}: {time}" if on else time
                rows.append([name, *("" if v is None else f"{100 * v:.1f} %" for v in values)])
                on = ""  # said once
    table(["error on", *names], rows)


if __name__ == "__main__":
    main()
