package mutants

// All returns all mutants, grouped by the part of the engine that has the bug.
func All() []Mutant {
	return []Mutant{
		// Allocation.
		{
			Name: "taken-stay-free", File: "allocate.cu",
			Bug: "blocks that were taken stay in the free list",
			Old: "  free[i] = word;\n", New: "\n",
		},
		{
			Name: "inclusive-scan", File: "allocate.cu",
			Bug: "a block of threads counts a thread's own free blocks to those before it",
			Old: "at += block_scan(sums, count_bits(word)).before;", New: "at += block_scan(sums, count_bits(word)).before + count_bits(word);",
		},
		{
			Name: "chunk-count", File: "allocate.cu",
			Bug: "where the free list has several chunks, the lowest block of a word is not counted",
			Old: "i < words ? count_bits(free[i]) : 0", New: "i < words ? count_bits(free[i] >> 1) : 0",
		},
		{
			Name: "table-in-16-bits", File: "allocate.cu",
			Bug: "a block table holds the low 16 bits of a block's number",
			Old: "tables[int64(head) * stride + logical] = block;\n  owners[block] = {sequence,", New: "tables[int64(head) * stride + logical] = block & 0xffff;\n  owners[block] = {sequence,",
		},
		{
			Name: "allocation-order", File: "allocate.cu",
			Bug: "a decode step takes blocks in (layer, head, sequence) order",
			Old: "sequence(i / heads % batch), head(i % heads) {}", New: "sequence(i % batch), head(i / batch % heads) {}",
		},
		{
			Name: "batch-of-8", File: "allocate.cu",
			Bug: "a decode step takes the rows of the ninth sequence and of those after it for the first ones'",
			Old: "return int64(rows[sequence]) * all", New: "return int64(rows[sequence % 8]) * all",
		},
		{
			Name: "block-edge", File: "allocate.cu",
			Bug: "a head takes a new block one KV too late",
			Old: "length % (1u << shift) == 0;", New: "length % (1u << shift) == 1 % (1u << shift);",
		},
		{
			Name: "freed-too-early", File: "allocate.cu",
			Bug: "the last block of what stays is freed where it is not full: it is read afterwards",
			Old: "int i = ((left + last) >> shift) + thread_x()", New: "int i = (left >> shift) + thread_x()",
		},
		{
			Name: "double-free", File: "allocate.cu",
			Bug: "one block too many is freed, that of a table entry which holds none",
			Old: "const int blocks = (length + last) >> shift;", New: "const int blocks = (length + last + 1) >> shift;",
		},
		{
			Name: "free-without-atomic", File: "allocate.cu",
			Bug: "blocks of threads set bits of the same word of the free list, one over the other",
			Old: "atomic_or(&free[block / 32], 1u << block % 32);", New: "free[block / 32] |= 1u << block % 32;",
		},
		{
			Name: "length-before-read", File: "allocate.cu",
			Bug: "a missing barrier: a head's length is changed while others read it",
			Old: "  block_barrier();  // all have read the length\n", New: "\n",
		},
		{
			Name: "stale-owner", File: "allocate.cu",
			Bug: "a freed block keeps its owner",
			Old: "    owners[block] = {-1, -1, -1, -1};\n", New: "    (void)owners;\n",
		},
		{
			Name: "barrier-in-a-branch", File: "allocate.cu",
			Bug: "a barrier stands where only some of the threads come by",
			Old: "  if (at >= need) return;\n", New: "  if (at >= need || thread_x() % 2) return;\n",
		},

		// Append.
		{
			Name: "position-is-length", File: "append.cu",
			Bug: "a new KV's position is the context length, which compression has shortened",
			Old: "slot, piece, pieces, times[sequence]);", New: "slot, piece, pieces, last + 0 * times[sequence]);",
		},
		{
			Name: "stale-metric", File: "append.cu",
			Bug: "a new KV starts with the metric that its slot had before",
			Old: "    if (is_there(metrics)) metrics[slot] = 0;\n", New: "    (void)metrics;\n",
		},
		{
			Name: "rounds-to-zero", File: "format.cuh", Module: "append.cu",
			Bug: "keys and values are rounded toward zero to f16",
			Old: "__nvvm_ff2f16x2_rn(high, low)", New: "__nvvm_ff2f16x2_rz(high, low)",
		},
		{
			Name: "ties-away", File: "format.cuh", Module: "append.cu",
			Bug: "what lies halfway between two numbers of f16 is rounded away from zero",
			Old: "__nvvm_ff2f16x2_rn(high, low)", New: "__nvvm_ff2f16x2_rn(high, (bits_of(low) & 0x1fff) == 0x1000 ? float_of(bits_of(low) | 1) : low)",
		},
		{
			Name: "bf16-rounds-to-zero", File: "format.cuh", Module: "append.cu", Format: "bf16",
			Bug: "keys and values are rounded toward zero to bf16",
			Old: "__nvvm_ff2bf16x2_rn(high, low)", New: "__nvvm_ff2bf16x2_rz(high, low)",
		},

		// Eviction decisions.
		{
			Name: "protected-of-others", File: "decide.cu",
			Bug: "the protected entries of earlier sequences are counted against a later one, as in the published implementation: it loses too little",
			Old: "lengths[place], positions,\n             keys + offsets[head], counts_of(counts, 0, 0, head), shift, sinks, last);\n  };", New: "lengths[place], positions,\n             keys + offsets[head], counts_of(counts, 0, 0, head), shift, sinks, last - row * (newest - last));\n  };",
		},
		{
			Name: "window-edge", File: "decide.cu",
			Bug: "the protected window is one KV too long",
			Old: "const uint32 candidates = last < sinks ? 0 : last - sinks + 1;", New: "const uint32 candidates = last < sinks ? 0 : last - sinks;",
		},
		{
			Name: "sink-edge", File: "decide.cu",
			Bug: "one sink too many is kept",
			Old: "uint32(p[e] - sinks) < candidates", New: "uint32(p[e] - sinks - 1) < candidates - 1",
		},
		{
			Name: "full-last-block", File: "decide.cu",
			Bug: "a last block that is full is taken for an empty one",
			Old: "return -length & ((1 << shift) - 1);", New: "return (1 << shift) - (length & ((1 << shift) - 1));",
		},
		{
			Name: "ties-between-heads", File: "decide.cu",
			Bug: "every head may lose all the blocks that are still wanted of those with the bound as key",
			Old: "min(equal, wanted - ties.before)", New: "min(equal, wanted)",
		},
		{
			Name: "ties-in-a-head", File: "decide.cu",
			Bug: "of KVs with equal cost one too many falls",
			Old: "left > 0; left--", New: "left >= 0; left--",
		},
		{
			Name: "average-by-age", File: "decide.cu",
			Bug: "a metric is divided by one query too many",
			Old: "const int after = newest - position;", New: "const int after = newest + 1 - position;",
		},
		{
			Name: "newest-first", File: "decide.cu",
			Bug: "the newest KV, whose metric cannot be averaged yet, is the cheapest",
			Old: "if (after == 0) return __builtin_inff();", New: "if (after == 0) return -__builtin_inff();",
		},
		{
			Name: "bias-bin", File: "decide.cu",
			Bug: "the first position of a bin gets the bias of the bin before",
			Old: "(starts[middle] <= position ? bin : beyond)", New: "(starts[middle] < position ? bin : beyond)",
		},
		{
			Name: "unsigned-costs", File: "decide.cu",
			Bug: "negative costs are compared as if they were not",
			Old: "return bits ^ (bits >> 31 | 0x80000000);", New: "return bits ^ 0x80000000;",
		},
		{
			Name: "histogram-not-ready", File: "decide.cu",
			Bug: "a missing barrier: a histogram in shared memory is counted up while it is cleared",
			Old: "  block_barrier();\n  const int mask = (1 << shift) - 1;\n", New: "\n  const int mask = (1 << shift) - 1;\n",
		},
		{
			Name: "stored-and-added", File: "decide.cu",
			Bug: "of the blocks of threads that count a head's KVs, the first stores its counts while others add theirs",
			Old: "if (blocks_y() == 1) {", New: "if (block_y() == 0) {",
		},
		{
			Name: "scan-in-one-place", File: "decide.cu",
			Bug: "beyond 256 heads of a quota, a scan starts in shared memory that others still read",
			Old: "block_scan(scans[turn], equal)", New: "block_scan(scans[0], equal)",
		},

		// Moves.
		{
			Name: "moves-in-another-order", File: "moves.cu",
			Bug: "the sources of the moves ascend",
			Old: "const int rank = k - 1 - i;", New: "const int rank = i;",
		},
		{
			Name: "stale-position", File: "moves.cu",
			Bug: "a KV moves and its position does not",
			Old: "if (lane < 2) {", New: "if (lane < 1) {",
		},
		{
			Name: "past-the-moves", File: "moves.cu",
			Bug: "the last group of lanes reads moves that are not there",
			Old: "moves[first + min(m, last)]", New: "moves[first + m + 0 * last]",
		},
		{
			Name: "lost-piece", File: "moves.cu",
			Bug: "the last bytes of a value stay behind",
			Old: "p < 2 * pieces; p += lanes", New: "p < 2 * pieces - 1; p += lanes",
		},

		// Attention.
		{
			Name: "lost-tail", File: "attention.cu",
			Bug: "the output leaves out the last partition where it is not full",
			Old: "const int length = lengths[place_of(sequences, row / group, heads, all)];\n  const int count = (length + partition - 1) / partition;\n  const int64 at = int64(row) * partitions;", New: "const int length = lengths[place_of(sequences, row / group, heads, all)];\n  const int count = length / partition;\n  const int64 at = int64(row) * partitions;",
		},
		{
			Name: "eight-partitions", File: "attention.cu",
			Bug: "the output leaves out what lies beyond 1,024 KVs",
			Old: "const int count = (length + partition - 1) / partition;\n  const int64 at = int64(row) * partitions;", New: "const int count = min(8, (length + partition - 1) / partition);\n  const int64 at = int64(row) * partitions;",
		},
		{
			Name: "wrong-query-head", File: "attend.cuh", Module: "attention.cu",
			Bug: "query heads are dealt out to KV heads in turn, not in groups",
			Old: "s.rows[lane()] = head * group + g + lane();", New: "s.rows[lane()] = head / heads * heads * group + (g + lane()) * heads + head % heads;",
		},
		{
			Name: "offset-in-32-bits", File: "partition.cuh", Module: "attention.cu",
			Bug: "a row's place in the cache is computed in 32 bits: it overflows from 2 GiB on",
			Old: "at + int64(*place) * (d * format::size)", New: "at + int(unsigned(*place) * (d * format::size))",
		},
		{
			Name: "uninitialised-sums", File: "attend.cuh", Module: "attention.cu",
			Bug: "sums in shared memory do not start from 0",
			Old: "first == 0 ? 0 : own[j * d + i]", New: "own[j * d + i]",
		},
		{
			Name: "buffer-edge", File: "attention.cu",
			Bug: "the KV at the buffer's edge does not gain",
			Old: "if (positions[slot] > last) continue;", New: "if (positions[slot] >= last) continue;",
		},
		{
			Name: "past-the-context", File: "attention.cu",
			Bug: "a KV past the context length is recorded",
			Old: "for (int i = thread_x(); i < n; i += threads_x()) {\n    const int slot", New: "for (int i = thread_x(); i <= n; i += threads_x()) {\n    const int slot",
		},
		{
			Name: "tile-not-ready", File: "partition.cuh", Module: "attention.cu",
			Bug: "a missing barrier: rows are read by lanes that have not copied them",
			Old: "  copies_done();\n  warp_barrier();\n", New: "  copies_done();\n\n",
		},
		{
			Name: "fused", File: "partition.cuh", Module: "attention.cu",
			Bug: "a product is added without being rounded first",
			Old: "sum[j][i] = sum[j][i] + x.at[i] * k[i];", New: "sum[j][i] = __builtin_fmaf(x.at[i], k[i], sum[j][i]);",
		},
		{
			Name: "another-order", File: "partition.cuh", Module: "attention.cu",
			Bug: "the last four partial sums are added in ascending order",
			Old: "(sum[j][0] + sum[j][2]) + (sum[j][1] + sum[j][3])", New: "((sum[j][0] + sum[j][1]) + sum[j][2]) + sum[j][3]",
		},
		{
			Name: "approximate", File: "numerics.cuh", Module: "attention.cu",
			Bug: "e^x comes from the card's approximate instruction",
			Old: "return x < -104 ? 0 : scaled;", New: "return x < -104 ? 0 * scaled : __nvvm_ex2_approx_f(x * log2e);",
		},

		// Stand-ins, hidden KVs and rotated keys.
		{
			Name: "from-the-rounded-mean", File: "edits.cu", Method: "razor",
			Bug: "a stand-in takes in KVs from its mean as the cache has rounded it",
			Old: "for (int j = 0; j < 8; j++) m[j] = exact[j];", New: "read(slot, m);",
		},
		{
			Name: "weight-not-read", File: "edits.cu", Method: "razor",
			Bug: "a missing barrier: a stand-in's weight is changed while others read it",
			Old: "  block_barrier();  // all have read the weight\n", New: "\n",
		},
		{
			Name: "unweighted", File: "adjusted.cu", Method: "razor",
			Bug: "a stand-in counts as one KV",
			Old: "*score = is_hidden ? lowest() : *score + more;", New: "*score = is_hidden ? lowest() : *score + 0 * more;",
		},
		{
			Name: "all-hidden", File: "adjusted.cu", Method: "h2o-mask",
			Bug: "the scores of a partition of which all KVs are hidden give NaN",
			Old: "own[i] == lowest() ? 0 : exp_of(own[i] - top)", New: "exp_of(own[i] - top)",
		},
		{
			Name: "one-more-hidden", File: "edits.cu", Method: "h2o-mask",
			Bug: "the oldest of the newest KVs is hidden",
			Old: "i < from + also", New: "i <= from + also",
		},
		{
			Name: "hidden-in-between", File: "edits.cu", Method: "h2o-mask",
			Bug: "a missing barrier: KVs are shown again after they were hidden",
			Old: "  block_barrier();\n  const int* listed", New: "\n  const int* listed",
		},
		{
			Name: "turned-too-far", File: "adjusted.cu", Method: "streaming-llm",
			Bug: "a KV counts itself to those that are older",
			Old: "((1u << position % 32) - 1);", New: "((2u << position % 32) - 1);",
		},

		// Quantized pages.
		{
			Name: "half-away", File: "groups.cuh", Module: "quantized.cu", Method: "kivi",
			Bug: "a code halfway between two integers becomes the greater one, not the even one",
			Old: "code = bits_of(quotient + 0x1.8p+23f) & 0xff;", New: "code = uint32(quotient + 0.5f);",
		},
		{
			Name: "scale-before-rounding", File: "pages.cuh", Module: "quantized.cu", Method: "kivi",
			Bug: "codes are made by a scale that is not rounded to the cache's type, as the stored one is",
			Old: "return rounded[0];", New: "return rounded[0] == v ? rounded[0] : v;",
		},
		{
			Name: "group-over-the-middle", File: "pages.cuh", Module: "quantized.cu", Method: "kivi",
			Bug: "a group that begins in a page's first half is written and read as if all of it lay there",
			Old: "return in < half ?", New: "return in - byte < half ?",
		},
		{
			Name: "one-too-many-quantized", File: "quantized.cu", Method: "kivi",
			Bug: "the oldest value in full precision is read from the quantized pages",
			Old: "if (logical >= count) return", New: "if (logical > count) return",
		},
		{
			Name: "code-in-one-byte", File: "groups.cuh", Module: "quantized.cu", Method: "kivi",
			Bug: "of a code of 3 bits that lies in two bytes, the second is not read",
			Old: "if (bit % 8 + bits > 8) {", New: "if (bit % 8 + bits > 16) {",
		},

		// Merged pages.
		{
			Name: "deeper-is-shallower", File: "merge.cuh", Module: "merged.cu", Method: "minicache",
			Bug: "the direction has the shallower layer's weight for the deeper one, and the other way round",
			Old: "float deep = by.t, shallow = by.other;", New: "float deep = by.other, shallow = by.t;",
		},
		{
			Name: "norm-of-the-other", File: "merge.cuh", Module: "merged.cu", Method: "minicache",
			Bug: "the deeper layer reads directions times the norms of the shallower one",
			Old: "(z.deep != 0 ? 1 : 2) * norm_bytes", New: "2 * norm_bytes",
		},
		{
			Name: "sine-beyond-a-right-angle", File: "numerics.cuh", Module: "merged.cu", Method: "minicache",
			Bug: "the sine of an angle above π/2 is the polynomial's there, not that of π less the angle",
			Old: "x > quarter_turn ? (2 * quarter_turn - x) + 2 * quarter_turn_rest : x;", New: "x;",
		},
		{
			Name: "published-sum", File: "merge.cuh", Module: "merged.cu", Method: "minicache",
			Bug: "directions are added up as p·b + q·a, as the published code does: of opposite vectors little is right",
			Old: "shallow * (v.y[j] + v.x[j]) + more * v.x[j]", New: "shallow * v.y[j] + (more + shallow) * v.x[j]",
		},
		{
			Name: "every-tie-retained", File: "merged.cu", Method: "minicache",
			Bug: "of equal distances one too many is retained",
			Old: "equal + tie.before < ties", New: "equal + tie.before <= ties",
		},
		{
			Name: "limit-of-all", File: "merged.cu", Method: "minicache",
			Bug: "the limit for later tokens is the largest distance of all, not of those that are not retained",
			Old: "    } else {\n      rest = max(rest, x);\n", New: "    }\n    {\n      rest = max(rest, x);\n",
		},
		{
			Name: "one-table-for-both", File: "merged.cu", Method: "minicache",
			Bug: "a retained row of the deeper layer is copied from the shallower one's block",
			Old: "const int64 slot = slot_of(tables + int64(head) * stride, logical, shift);\n  const char* from", New: "const int64 slot = slot_of(tables + int64(shallow) * stride, logical, shift);\n  const char* from",
		},
		{
			Name: "retained-once", File: "merged.cu", Method: "minicache",
			Bug: "tokens that are retained later are written over those that were retained first",
			Old: "const int u = held[2 * shallow + part] + k;", New: "const int u = 0 * held[2 * shallow + part] + k;",
		},
		{
			Name: "noted-in-between", File: "merge.cuh", Module: "merged.cu", Method: "minicache",
			Bug: "a missing barrier: KVs are noted as merged after they were as retained",
			Old: "    warp_barrier();\n    int low = 0, high = held;", New: "\n    int low = 0, high = held;",
		},
		{
			Name: "retained-of-the-partition-before", File: "merge.cuh", Module: "merged.cu", Method: "minicache",
			Bug: "the first retained KV of a partition is read as if it were merged",
			Old: "if (index(middle) < start) {", New: "if (index(middle) <= start) {",
		},

		// Merged pages with quantized directions.
		{
			Name: "direction-not-rounded", File: "merged_quantized.cu", Method: "minicache+kivi",
			Bug: "a direction is quantized that is not rounded to the cache's type first",
			Old: `      if (i < d) store_one<format>(row + i * format::size, e[j] / length);
    });
    warp_barrier();
    const int column = lane() * piece;
    if (column < d) {
      make_piece<format>(*this, u, column, piece, d,
                         [&](int j) { return one<format>(row + j * format::size); });
`, New: `      if (i < d) store_one<f32>(row + i * f32::size, e[j] / length);
    });
    warp_barrier();
    const int column = lane() * piece;
    if (column < d) {
      make_piece<format>(*this, u, column, piece, d,
                         [&](int j) { return one<f32>(row + j * f32::size); });
`,
		},
		{
			Name: "direction-not-ready", File: "merged_quantized.cu", Method: "minicache+kivi",
			Bug: "a missing barrier: a lane quantizes elements that others have not written",
			Old: "    warp_barrier();\n    const int column", New: "\n    const int column",
		},
		{
			Name: "one-lane-too-many", File: "merged_quantized.cu", Method: "minicache+kivi",
			Bug: "a lane quantizes a group behind the direction's last",
			Old: "if (column < d) {", New: "if (column <= d) {",
		},
		{
			Name: "norms-over-minima", File: "merged_quantized.cu", Method: "minicache+kivi",
			Bug: "a unit has no room for its norms, which lie over its last scales and minima",
			Old: "2 * norm_bytes),\n            by.piece};", New: "0 * norm_bytes),\n            by.piece};",
		},
		{
			Name: "rounded-where-read", File: "merged_quantized.cu", Method: "minicache+kivi",
			Bug: "a direction is rounded to the cache's type where it is read",
			Old: "return four_of_token<format>(u, column, d);", New: "float4 x = four_of_token<format>(u, column, d);\n    for (int j = 0; j < 4; j++) x.at[j] = float(_Float16(x.at[j]));\n    return x;",
		},

		// Scales of fp8 caches.
		{
			Name: "cut-too-early", File: "format.cuh", Module: "append.cu", Format: "e4m3", Method: "kv-compress",
			Bug: "a key or value is cut at the format's largest number before it is divided by the scale",
			Old: "one(v.at[0] / scale)", New: "one(min(max(v.at[0], -448.0f), 448.0f) / scale)",
		},
		{
			Name: "scale-of-k-for-v", File: "append.cu", Format: "e4m3",
			Bug: "values are divided by the scale of K",
			Old: "v_codec.encode(v4[0], v4[1])", New: "decltype(v_codec){k_codec.scale}.encode(v4[0], v4[1])",
		},
		{
			Name: "scale-on-the-score", File: "attention.cu", Format: "e4m3",
			Bug: "the score is multiplied by the scale of K, not each element of a key",
			Old: "scores(s, codec, q, keys, queries, n, d, scale);", New: "scores(s, format{1}, q, keys, queries, n, d, scale * codec.scale);",
		},
		{
			Name: "scale-overflows", File: "format.cuh", Module: "attention.cu", Format: "e4m3",
			Bug: "a scale of 256 or more gives infinity in the product by which elements are decoded",
			Old: "lift = 0x1p40f;", New: "lift = 1;",
		},
		{
			Name: "mean-of-another-scale", File: "edits.cu", Format: "e4m3", Method: "razor",
			Bug: "the mean of values is divided by the scale of K",
			Old: "format{v_scales[head]}", New: "format{v_scales == nullptr ? 1 : k_scales[head]}",
		},

		// Prefill.
		{
			Name: "not-causal", File: "prefill.cu",
			Bug: "a query does not see its own key",
			Old: "s.counts[lane()] = min(partition, first + place + 1 - start);", New: "s.counts[lane()] = min(partition, first + place - start);",
		},
		{
			Name: "pool-edge", File: "prefill.cu",
			Bug: "the max-pool of the last keys reaches past the prompt",
			Old: "to = min(scored - 1, i + reach);", New: "to = min(scored, i + reach);",
		},
		{
			Name: "prefill-buffer-edge", File: "prefill.cu",
			Bug: "the query at the buffer's edge does not count",
			Old: "max(0, i + buffer - first)", New: "max(0, i + buffer + 1 - first)",
		},
		{
			Name: "exp-ends-early", File: "numerics.cuh", Module: "prefill.cu",
			Bug: "e^x is 0 where it is subnormal",
			Old: "return x < -104 ? 0 : scaled;", New: "return x < -88 ? 0 : scaled;",
		},

		// Scores.
		{
			Name: "one-long-sum", File: "scores.cu", Method: "expected-attention",
			Bug: "products of queries are added up from the first token to the last, not in partitions",
			Old: "if ((first + stage) % partition != 0 && first + stage < n) continue;", New: "if (first + stage < n) continue;",
		},
		{
			Name: "turned-on", File: "scores.cu", Method: "expected-attention",
			Bug: "queries and keys are turned on, not back",
			Old: "const float cos = turn[0], sin = turn[pairs];", New: "const float cos = turn[0], sin = -turn[pairs];",
		},
		{
			Name: "own-range", File: "scores.cu", Method: "lagkv",
			Bug: "a segment is measured by its own range, not by the next one's",
			Old: "(sinks + (segment + 1) * lag)", New: "(sinks + segment * lag)",
		},
		{
			Name: "means-not-ready", File: "scores.cu", Method: "lagkv",
			Bug: "a missing barrier: means are ranked that other threads have not written",
			Old: "  if (cross) return;\n  block_barrier();\n", New: "  if (cross) return;\n\n",
		},

		// Mutants by other authors.
		{
			Name: "count-free-off", File: "allocate.cu",
			Bug: "count_free: a chunk that is wholly free counts one too few",
			Old: "  if (thread_x() == 0) counts[block_x()] = n;\n}\n\n// take_blocks", New: "  if (thread_x() == 0) counts[block_x()] = n - (n == 32 * threads_x());\n}\n\n// take_blocks",
		},
		{
			Name: "block-16-bits", File: "allocate.cu",
			Bug: "block numbers wrap at 65,536",
			Old: "taken[at++] = i * 32 + lowest_bit(word);", New: "taken[at++] = uint16(i * 32 + lowest_bit(word));",
		},
		{
			Name: "ids-of-8", File: "allocate.cu",
			Bug: "give_tokens: owner of sequences beyond the 8th of a batch is another",
			Old: "owners[block] = {ids[h.sequence], h.layer, h.head, logical};", New: "owners[block] = {ids[h.sequence & 7], h.layer, h.head, logical};",
		},
		{
			Name: "free-b32", File: "allocate.cu",
			Bug: "free_blocks rounds up wrongly at block size 32 only",
			Old: "const int last = (1 << shift) - 1;\n  const int blocks", New: "const int last = (1 << (shift < 5 ? shift : 4)) - 1;\n  const int blocks",
		},
		{
			Name: "bf16-flush", File: "format.cuh", Module: "append.cu", Format: "bf16",
			Bug: "subnormal f32 inputs become 0 in a bf16 cache",
			Old: "return __builtin_bit_cast(uint32, __nvvm_ff2bf16x2_rn(high, low));", New: "return __builtin_bit_cast(uint32, __nvvm_ff2bf16x2_rn((bits_of(high) & 0x7f800000) == 0 ? 0 : high, (bits_of(low) & 0x7f800000) == 0 ? 0 : low));",
		},
		{
			Name: "f16-tie", File: "format.cuh", Module: "append.cu",
			Bug: "f16: exact ties go away from zero (odd elements)",
			Old: "return __builtin_bit_cast(uint32, __nvvm_ff2f16x2_rn(high, low));", New: "const float hi = (bits_of(high) & 0x3fff) == 0x1000 ? float_of(bits_of(high) + 1) : high; return __builtin_bit_cast(uint32, __nvvm_ff2f16x2_rn(hi, low));",
		},
		{
			Name: "exp-88", File: "numerics.cuh", Module: "prefill.cu",
			Bug: "e^x: subnormal results are 0 (prefill)",
			Old: "return x < -104 ? 0 : scaled;", New: "return x < -87.5f ? 0 : scaled;",
		},
		{
			Name: "parts-race", File: "decide.cu",
			Bug: "blocks of threads of one head add their histograms without an atomic: a race between blocks",
			Old: "for (int i = thread_x(); i < digit_values / 4; i += threads_x()) add_counts(to, i, from[i]);", New: "for (int i = thread_x(); i < digit_values / 4; i += threads_x()) reinterpret_cast<four_ints*>(to)[i] += from[i];",
		},
		{
			Name: "settle-256", File: "decide.cu",
			Bug: "settle: ties among heads beyond 256 of a quota are counted twice",
			Old: "    wanted -= ties.total;\n", New: "    (void)ties.total;\n",
		},
		{
			Name: "random-10-bits", File: "decide.cu",
			Bug: "random eviction: the position is hashed modulo 1,024",
			Old: "mix(state ^ uint32(position))", New: "mix(state ^ uint32(position) % 1024)",
		},
		{
			Name: "no-copies-done", File: "partition.cuh", Module: "attention.cu",
			Bug: "cp.async is never waited for: on a GPU garbage is read",
			Old: "  copies_done();\n  warp_barrier();", New: "  warp_barrier();",
		},
		{
			Name: "newest-zero", File: "decide.cu",
			Bug: "avg: the newest KV costs 0",
			Old: "if (after == 0) return __builtin_inff();", New: "if (after == 0) return 0;",
		},
		{
			Name: "divide-approx", File: "decide.cu",
			Bug: "avg: multiplied by the rounded reciprocal",
			Old: "cost = cost / float(after);", New: "cost = cost * (1.0f / float(after));",
		},
		{
			Name: "quads-64", File: "attention.cu",
			Bug: "from the 9th partition on the output is summed with fused multiply-add",
			Old: "sum.at[j] = sum.at[j] + part.at[j] * factor;", New: "sum.at[j] = p > 7 ? __builtin_fmaf(part.at[j], factor, sum.at[j]) : sum.at[j] + part.at[j] * factor;",
		},
		{
			Name: "stale-quota", File: "decide.cu",
			Bug: "sum_evicted ignores quotas beyond the 64th",
			Old: "  if (b.whole) return;\n  const quota q = quotas[block_x()];", New: "  if (b.whole || block_x() > 63) return;\n  const quota q = quotas[block_x()];",
		},

		// Code that the mutants above do not cover.
		{
			Name: "taken-beyond", File: "allocate.cu",
			Bug: "blocks are taken beyond those that are needed",
			Old: "  } while (word != 0 && at < need);", New: "  } while (word != 0);",
		},
		{
			Name: "full-by-shift", File: "allocate.cu",
			Bug: "of several blocks of threads, those before count heads as full that have a KV more",
			Old: "full = lengths[h.at(rows, all, heads)] % unsigned(block_size) == 0;", New: "full = (lengths[h.at(rows, all, heads)] + 1) % unsigned(block_size) == 0;",
		},
		{
			Name: "freed-bit-of-word", File: "allocate.cu",
			Bug: "where a block's number does not fit in 16 bits, another block comes free",
			Old: "atomic_or(&free[block / 32], 1u << block % 32);", New: "atomic_or(&free[(block & 0xffff) / 32], 1u << block % 32);",
		},
		{
			Name: "survivor-edge", File: "moves.cu",
			Bug: "of the KVs that move, one lies on an evicted one",
			Old: "if (tail[middle] - m - middle <= rank)", New: "if (tail[middle] - m - middle < rank)",
		},
		{
			Name: "source-in-32-bits", File: "moves.cu",
			Bug: "the place that a KV moves from is computed in 32 bits",
			Old: "int64(at[m].source) * row", New: "at[m].source * row",
		},
		{
			Name: "empty-window", File: "decide.cu",
			Bug: "where sinks and window leave no candidates, all KVs are",
			Old: "last < sinks ? 0 : last - sinks + 1", New: "last - sinks + 1",
		},
		{
			Name: "tie-order", File: "decide.cu",
			Bug: "of KVs with equal cost the last of eight falls first",
			Old: "left > 0; left--, equal &= equal - 1)\n      fall |= equal & -equal;", New: "left > 0; left--, equal &= ~(0x80000000u >> __builtin_clz(equal)))\n      fall |= 0x80000000u >> __builtin_clz(equal);",
		},
		{
			Name: "squares-apart", File: "prefill.cu",
			Bug: "weight and factor are squared before they are multiplied",
			Old: "gain(weights[at * partition + thread_x()] * f[at], squared)", New: "squared ? gain(weights[at * partition + thread_x()], true) * gain(f[at], true) : weights[at * partition + thread_x()] * f[at]",
		},
		{
			Name: "scaled-in-another-order", File: "prefill.cu",
			Bug: "avg: a gain is multiplied by the position before it is divided",
			Old: "return a * (float(j + 1) / float(observed));", New: "return a * float(j + 1) / float(observed);",
		},
		{
			Name: "average-of-those-there", File: "prefill.cu", Method: "snapkv",
			Bug: "the pool divides by the neighbours that there are",
			Old: "return pool == avg_pool ? sum / float(width) : top;", New: "return pool == avg_pool ? sum / float(to - from + 1) : top;",
		},
		{
			Name: "gains-from-anew", File: "prefill.cu",
			Bug: "a prompt's second launch starts gains anew",
			Old: "float sum = go_on ? gains[own] : 0;", New: "float sum = go_on && first < 0 ? gains[own] : 0;",
		},
		{
			Name: "minus-zero", File: "groups.cuh", Module: "quantized.cu", Method: "kivi",
			Bug: "the minimum −0 is not made +0",
			Old: "  low = low + 0;\n", New: "\n",
		},
		{
			Name: "by-the-reciprocal", File: "groups.cuh", Module: "quantized.cu", Format: "f32", Method: "kivi",
			Bug: "a code is made by the reciprocal of the scale",
			Old: "(read(i) - low) / scale, top)", New: "(read(i) - low) * (1 / scale), top)",
		},
		{
			Name: "dequantized-at-once", File: "groups.cuh", Module: "quantized.cu", Format: "f32", Method: "kivi",
			Bug: "a value is made of its code with one rounding",
			Old: "x.at[j] = float(word >> (bit % 8 + j * bits) & mask) * scale + minimum;", New: "x.at[j] = __builtin_fmaf(float(word >> (bit % 8 + j * bits) & mask), scale, minimum);",
		},
		{
			Name: "pages-from-zero", File: "quantized.cu", Method: "kivi",
			Bug: "quantized values are listed from the first page on",
			Old: "values + (j - more_keys);", New: "0 * values + (j - more_keys);",
		},
		{
			Name: "not-cut", File: "format.cuh", Module: "append.cu", Format: "e4m3",
			Bug: "what is beyond the format becomes NaN",
			Old: "(rounded < largest ? rounded : largest)", New: "(rounded < largest + 1 ? rounded : largest + 1)",
		},
		{
			Name: "fp8-ties", File: "format.cuh", Module: "append.cu", Format: "e5m2",
			Bug: "what lies halfway is rounded toward zero",
			Old: "(1u << (shift - 1)) - 1 + (moved >> shift & 1)", New: "(1u << (shift - 1)) - 1",
		},
		{
			Name: "fp8-subnormal", File: "format.cuh", Module: "append.cu", Format: "e4m3",
			Bug: "what is subnormal in the format becomes zero",
			Old: "const uint32 rounded = magnitude < rebias + (1u << 23) ? small : normal;", New: "const uint32 rounded = magnitude < rebias + (1u << 23) ? 0 & small : normal;",
		},
		{
			Name: "scale-by-the-reciprocal", File: "format.cuh", Module: "append.cu", Format: "e5m2",
			Bug: "what is stored is multiplied by the reciprocal of the scale",
			Old: "one(v.at[3] / scale) << 24", New: "one(v.at[3] * (1 / scale)) << 24",
		},
		{
			Name: "norm-not-less-than", File: "scores.cu", Method: "keydiff",
			Bug: "a norm counts as at least 10⁻¹⁰, not 10⁻¹²",
			Old: "1e-12f", New: "1e-10f",
		},
		{
			Name: "equal-ranks", File: "scores.cu", Method: "lagkv",
			Bug: "equal means have the same rank",
			Old: "(means[j] == own && j < i)", New: "(means[j] == own && false)",
		},
		{
			Name: "words-apart", File: "adjusted.cu", Method: "streaming-llm",
			Bug: "the bits of a head's positions lie twice as far apart",
			Old: "uint32* bits = held + int64(head) * words;", New: "uint32* bits = held + int64(head) * 2 * words;",
		},

		// Numbers that are large in other ways: sequences of a batch, query heads of a group, options, pages.
		{
			Name: "third-tile", File: "attend.cuh", Module: "attention.cu",
			Bug: "a group has two tiles of 8 query heads: those of a third are the second one's",
			Old: "g = block_x() % tiles * most_queries;\n  const int p", New: "g = (block_x() % tiles != 0) * most_queries;\n  const int p",
		},
		{
			Name: "sixteen-query-heads", File: "prefill.cu",
			Bug: "of a group, 16 query heads give to a KV",
			Old: "for (int g = 0; g < group; g++) {\n      const float v = of(g);", New: "for (int g = 0; g < min(group, 16); g++) {\n      const float v = of(g);",
		},
		{
			Name: "times-of-8", File: "adjusted.cu", Format: "bf16", Method: "streaming-llm",
			Bug: "keys of the ninth sequence of a batch, and of those after it, are turned by the time of the first ones",
			Old: "t = times[head / heads];", New: "t = times[(head / heads) & 7];",
		},
		{
			Name: "hidden-tokens-of-256", File: "edits.cu", Format: "f32", Method: "h2o-mask",
			Bug: "of a batch, new KVs are hidden in the first 256 heads",
			Old: "  const int i = block_x() * threads_x() + thread_x();\n  if (i >= batch * heads || which[i] == 0) return;", New: "  const int i = thread_x();\n  if (block_x() > 0 || i >= batch * heads || which[i] == 0) return;",
		},
		{
			Name: "weights-of-256", File: "append.cu", Format: "e4m3", Method: "razor",
			Bug: "of a batch, new KVs of the first 256 heads get their weight",
			Old: "  const uint32 row = block_x() * threads_x() + thread_x();\n  if (int(row / heads) >= batch) return;\n  const int64 place = place_of(sequences, row, heads, all);\n  fill(", New: "  const uint32 row = thread_x();\n  if (int(row / heads) >= batch || block_x() > 0) return;\n  const int64 place = place_of(sequences, row, heads, all);\n  fill(",
		},
		{
			Name: "merged-of-8", File: "merge.cuh", Module: "merged.cu", Method: "minicache",
			Bug: "how many KVs of the ninth sequence are merged is read at the first one",
			Old: "z.counts[2 * own.sequence + part], z.held", New: "z.counts[2 * (own.sequence & 7) + part], z.held",
		},
		{
			Name: "random-of-32", File: "decide.cu", Method: "random",
			Bug: "the sequence is hashed modulo 32",
			Old: "mix(mix(seed ^ uint32(sequence)) ^ of_head)", New: "mix(mix(seed ^ uint32(sequence & 31)) ^ of_head)",
		},
		{
			Name: "one-factor-of-a-segment", File: "scores.cu", Method: "lagkv",
			Bug: "beyond 128 tokens, a segment's weights get the factor of its first partition",
			Old: "const float of_k = means[i] * f[keys * partitions + i / partition];", New: "const float of_k = means[i] * f[keys * partitions];",
		},
		{
			Name: "ranks-of-256", File: "scores.cu", Method: "lagkv",
			Bug: "beyond 256 tokens, a segment's weights get no rank",
			Old: "  block_barrier();\n#pragma unroll 1\n  for (int i = thread_x(); i < lag; i += threads_x()) {", New: "  block_barrier();\n#pragma unroll 1\n  for (int i = thread_x(); i < min(lag, 256); i += threads_x()) {",
		},
		{
			Name: "sinks-of-128", File: "scores.cu", Method: "lagkv",
			Bug: "sinks beyond 128 get no score",
			Old: "if (i >= n || (after >= 0 && after < scored)) return;", New: "if (i >= n || (after >= 0 && after < scored) || (after < 0 && i >= partition)) return;",
		},
		{
			Name: "mean-of-8-heads", File: "prefill.cu", Method: "tova",
			Bug: "a layer's mean is that of 8 heads",
			Old: "for (int head = 0; head < heads; head++) sum = sum + *of_head(head);", New: "for (int head = 0; head < min(8, heads); head++) sum = sum + *of_head(head);",
		},
		{
			Name: "minimum-of-64", File: "groups.cuh", Module: "quantized.cu", Method: "flexgen",
			Bug: "the minimum and the maximum of a group are those of its first 64 elements",
			Old: "for (int i = 1; i < size; i++) {", New: "for (int i = 1; i < min(size, 64); i++) {",
		},
		{
			Name: "folded-as-the-first", File: "edits.cu", Method: "razor",
			Bug: "of several KVs that enter a stand-in later, all have the weight of the first",
			Old: "(x[j] - m[j]) / float(count + i + 1)", New: "(x[j] - m[j]) / float(count + 1)",
		},
		{
			Name: "folded-to-384", File: "edits.cu", Format: "f32", Method: "razor",
			Bug: "of values of 256 elements, half is folded",
			Old: "for (int i = 8 * thread_x(); i < 2 * d; i += 8 * threads_x()) {", New: "for (int i = 8 * thread_x(); i < min(2 * d, 384); i += 8 * threads_x()) {",
		},
		{
			Name: "pages-of-256", File: "merged.cu", Method: "minicache",
			Bug: "of a list that grows by more pages than a block of threads has threads, the rest is not given",
			Old: "for (int i = thread_x(); i < pages; i += threads_x()) {", New: "if (const int i = thread_x(); i < pages) {",
		},
		{
			Name: "hidden-zero", File: "decide.cu",
			Bug: "a hidden KV whose metric is 0 counts as seen",
			Old: "if (bits >> 31 != 0 && position < stay)", New: "if (number < 0 && position < stay)",
		},
		{
			Name: "minus-zero-norm", File: "scores.cu", Method: "knorm",
			Bug: "the score of a key that is 0 is −0",
			Old: "= 0 - norms[int64(head) * n + i];", New: "= -norms[int64(head) * n + i];",
		},
		{
			Name: "unpaired-unbounded", File: "scores.cu", Method: "expected-attention",
			Bug: "elements that are not turned are not bounded",
			Old: "x[pairs + j] = within(x[pairs + j]);", New: "x[pairs + j] = x[pairs + j];",
		},
	}
}
