// Package longbench reads tasks in the form of LongBench's files, a JSON object a line, and
// scores the text that a model answered with LongBench's metrics.
//
// The metrics equal those of LongBench's metrics.py with the packages that it names (rouge 1.0,
// fuzzywuzzy on Python's difflib), quirks included, so that scores can be compared with
// published ones. Differences are stated at each metric. Datasets of Chinese texts, which
// LongBench cuts into words with jieba, are refused.
//
// [Read] reads a file of tasks, and [Prompt.Score] scores an answer.
package longbench
