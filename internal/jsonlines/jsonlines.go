// Package jsonlines writes JSON arrays with one line for each element, so that a diff shows which elements changed.
package jsonlines

import (
	"bufio"
	"encoding/json"
)

// WriteArray writes a list as a JSON array, each element on its own line. An error of the underlying writer is
// returned by out.Flush.
func WriteArray[T any](out *bufio.Writer, list []T) error {
	out.WriteByte('[')
	for i := range list {
		line, err := json.Marshal(&list[i])
		if err != nil {
			return err
		}
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
		out.Write(line)
	}
	out.WriteString("\n]")
	return nil
}
