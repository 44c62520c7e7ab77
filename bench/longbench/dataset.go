package longbench

import (
	"fmt"
	"slices"
	"strings"

	"kvcompress/bench/task"
)

// Metric names how answers are scored.
type Metric string

// The metrics.
const (
	MetricQAF1           Metric = "qa_f1"
	MetricRougeL         Metric = "rouge_l"
	MetricClassification Metric = "classification"
	MetricCodeSimilarity Metric = "code_sim"
	MetricEditSimilarity Metric = "edit_sim" // not one of LongBench's
	MetricCount          Metric = "count"
	MetricRetrieval      Metric = "retrieval"    // Paragraph 7
	MetricRetrievalZH    Metric = "retrieval_zh" // 段落7
)

// Metrics returns the names of the metrics.
func Metrics() []Metric {
	return []Metric{MetricQAF1, MetricRougeL, MetricClassification, MetricCodeSimilarity, MetricEditSimilarity,
		MetricCount, MetricRetrieval, MetricRetrievalZH}
}

// Dataset says how answers to one of LongBench's datasets are scored.
type Dataset struct {
	Name      string
	Category  string // one of task.Categories; LongBench's synthetic tasks are task.Synthetic
	Metric    Metric
	MaxTokens int  // of an answer
	FirstLine bool // only the first line of the answer is scored
}

// Datasets returns LongBench's datasets that can be scored here: all but multifieldqa_zh,
// dureader and vcsum, whose Chinese texts are cut into words by jieba first.
func Datasets() []Dataset {
	return []Dataset{
		{"narrativeqa", task.SingleDoc, MetricQAF1, 128, false},
		{"qasper", task.SingleDoc, MetricQAF1, 128, false},
		{"multifieldqa_en", task.SingleDoc, MetricQAF1, 64, false},
		{"hotpotqa", task.MultiDoc, MetricQAF1, 32, false},
		{"2wikimqa", task.MultiDoc, MetricQAF1, 32, false},
		{"musique", task.MultiDoc, MetricQAF1, 32, false},
		{"gov_report", task.Summary, MetricRougeL, 512, false},
		{"qmsum", task.Summary, MetricRougeL, 512, false},
		{"multi_news", task.Summary, MetricRougeL, 512, false},
		{"trec", task.FewShot, MetricClassification, 64, true},
		{"triviaqa", task.FewShot, MetricQAF1, 32, true},
		{"samsum", task.FewShot, MetricRougeL, 128, true},
		{"lsht", task.FewShot, MetricClassification, 64, true},
		{"passage_count", task.Synthetic, MetricCount, 32, false},
		{"passage_retrieval_en", task.Synthetic, MetricRetrieval, 32, false},
		{"passage_retrieval_zh", task.Synthetic, MetricRetrievalZH, 32, false},
		{"lcc", task.Code, MetricCodeSimilarity, 64, false},
		{"repobench-p", task.Code, MetricCodeSimilarity, 64, false},
	}
}

// findDataset returns the dataset of a name. The suffix _e of LongBench-E is ignored.
func findDataset(name string) (Dataset, error) {
	plain := strings.TrimSuffix(name, "_e")
	if slices.Contains([]string{"multifieldqa_zh", "dureader", "vcsum"}, plain) {
		return Dataset{}, fmt.Errorf("%s cannot be scored here: its Chinese texts must be cut into words, as jieba does", quote(name))
	}
	var names []string
	for _, d := range Datasets() {
		if d.Name == plain {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return Dataset{}, fmt.Errorf("there is no dataset %s: want one of %s, or a field metric for another dataset", quote(name), strings.Join(names, ", "))
}

// Score returns the highest score, in [0, 1], that the metric gives the prediction for any
// of the answers.
func (p *Prompt) Score(prediction string) float64 {
	if p.FirstLine {
		prediction, _, _ = strings.Cut(strings.TrimLeft(prediction, "\n"), "\n")
	}
	best := 0.0
	for _, a := range p.Answers {
		best = max(best, p.score(prediction, a))
	}
	return best
}

func (p *Prompt) score(prediction, truth string) float64 {
	switch p.Metric {
	case MetricQAF1:
		return QAF1(prediction, truth)
	case MetricRougeL:
		return RougeL(prediction, truth)
	case MetricClassification:
		return Classification(prediction, truth, p.Classes)
	case MetricCodeSimilarity:
		return CodeSimilarity(prediction, truth)
	case MetricEditSimilarity:
		return EditSimilarity(prediction, truth)
	case MetricCount:
		return Count(prediction, truth)
	case MetricRetrieval, MetricRetrievalZH:
		// Read made sure that the truth has a number.
		score, err := Retrieval(prediction, truth, p.Metric.retrieved())
		if err == nil {
			return score
		}
	}
	return 0
}

// retrieved returns the word before the number that a retrieval metric looks for.
func (m Metric) retrieved() string {
	if m == MetricRetrievalZH {
		return "段落"
	}
	return "Paragraph "
}
