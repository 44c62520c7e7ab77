package heads

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"kvcompress/kv"
	"kvcompress/strictjson"
)

// maxTSVLine bounds a line of a table of scores, in bytes.
const maxTSVLine = 4 << 20

// ReadTSV reads a table of scores [L][heads]: one line per layer, with one finite number per head, separated
// by tabs or spaces. This is the form of DuoAttention's full_attention_heads.tsv, and of Retrieval_Head's
// scores as a table. Empty lines may follow the last layer.
func ReadTSV(r io.Reader) ([][]float64, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxTSVLine)
	var scores [][]float64
	ended := 0 // number of the empty line that ended the table
	number := 0
	for lines.Scan() {
		number++
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
			if ended == 0 {
				ended = number
			}
			continue
		case ended > 0:
			return nil, fmt.Errorf("line %d is empty, but more lines follow", ended)
		case len(scores) == kv.MaxLayers:
			return nil, fmt.Errorf("line %d: more than %d layers", number, kv.MaxLayers)
		case len(scores) > 0 && len(fields) != len(scores[0]):
			return nil, fmt.Errorf("line %d: %d heads, want %d as in the lines before", number, len(fields), len(scores[0]))
		case len(fields) > maxHeads/(len(scores)+1):
			return nil, fmt.Errorf("line %d: more than %d heads in all", number, maxHeads)
		}
		row := make([]float64, len(fields))
		for i, field := range fields {
			v, err := strconv.ParseFloat(field, 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("line %d, head %d: %q is not a finite number", number, i, strictjson.Excerpt(field))
			}
			row[i] = v
		}
		scores = append(scores, row)
	}
	switch err := lines.Err(); {
	case err == bufio.ErrTooLong:
		return nil, fmt.Errorf("line %d is longer than %d MiB", number+1, maxTSVLine>>20)
	case err != nil:
		return nil, err
	case len(scores) == 0:
		return nil, fmt.Errorf("there are no scores")
	}
	return scores, nil
}
