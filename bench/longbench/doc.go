// Package longbench reads tasks in the form of LongBench's files, a JSON object a line, and
// scores the text that a model answered with LongBench's metrics.
//
// The metrics give what LongBench's metrics.py gives with the packages that it names
// (rouge 1.0, fuzzywuzzy on Python's difflib), quirks included, so that scores can be held
// against published ones. What differs is said where it is. Chinese texts that would first
// have to be cut into words, by jieba, are refused.
package longbench
