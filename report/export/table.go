package export

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"kvcompress/sim"
)

// table writes rows of one kind. In a run, one of the two functions makes the rows and the other
// is nil; if the rows come from elsewhere, both are nil.
type table[Row any] struct {
	ofRequest func(*sim.Result) Row
	ofStep    func(*sim.Step) Row
	write     func(Row) error
	end       func() error
	err       error
}

func (t *table[Row]) Request(r *sim.Result) {
	if t.ofRequest != nil && t.err == nil {
		t.err = t.write(t.ofRequest(r))
	}
}

func (t *table[Row]) Step(s *sim.Step) {
	if t.ofStep != nil && t.err == nil {
		t.err = t.write(t.ofStep(s))
	}
}

func (t *table[Row]) Close() error {
	if t.err == nil {
		t.err = t.end()
	}
	if t.err != nil {
		return fmt.Errorf("export: %w", t.err)
	}
	return nil
}

// parquetRows is the number of rows that are passed to the writer at once: single rows are slow.
const parquetRows = 1024

// newParquet compresses with gzip: its bytes are the same with assembly and without, unlike
// Snappy's.
func newParquet[Row any](w io.Writer) *table[Row] {
	out := parquet.NewGenericWriter[Row](w, parquet.Compression(&parquet.Gzip), parquet.MaxRowsPerRowGroup(1<<18), parquet.CreatedBy("kvc", "1", ""))
	rows := make([]Row, 0, parquetRows)
	flush := func() error {
		_, err := out.Write(rows)
		rows = rows[:0]
		return err
	}
	return &table[Row]{
		write: func(r Row) error {
			if rows = append(rows, r); len(rows) < cap(rows) {
				return nil
			}
			return flush()
		},
		end: func() error {
			if err := flush(); err != nil {
				return err
			}
			return out.Close()
		},
	}
}

// names returns the names of the Parquet columns, which the other formats use too.
func names[Row any]() []string {
	of := reflect.TypeFor[Row]()
	list := make([]string, of.NumField())
	for i := range list {
		list[i], _, _ = strings.Cut(of.Field(i).Tag.Get("parquet"), ",")
	}
	return list
}

// present returns the value of a field, and false if it is absent.
func present(f reflect.Value) (reflect.Value, bool) {
	if f.Kind() != reflect.Pointer {
		return f, true
	}
	return f.Elem(), !f.IsNil()
}

// figures is the number of significant digits of floats in text.
const figures = 6

// newJSONL writes each row as an object on a line, without absent fields.
func newJSONL[Row any](w io.Writer) *table[Row] {
	out := bufio.NewWriterSize(w, 1<<16)
	columns := names[Row]()
	var line []byte
	return &table[Row]{
		write: func(r Row) error {
			v := reflect.ValueOf(r)
			line = append(line[:0], '{')
			for i, name := range columns {
				f, ok := present(v.Field(i))
				if !ok {
					continue
				}
				if len(line) > 1 {
					line = append(line, ',')
				}
				line = append(append(append(line, '"'), name...), '"', ':')
				switch f.Kind() {
				case reflect.String:
					text, err := json.Marshal(f.String())
					if err != nil {
						return err
					}
					line = append(line, text...)
				case reflect.Float64:
					line = strconv.AppendFloat(line, f.Float(), 'g', figures, 64)
				default:
					line = strconv.AppendInt(line, f.Int(), 10)
				}
			}
			_, err := out.Write(append(line, '}', '\n'))
			return err
		},
		end: out.Flush,
	}
}

// newCSV writes a header, then a line for each row. Absent fields are empty.
func newCSV[Row any](w io.Writer) *table[Row] {
	out := csv.NewWriter(w)
	record := names[Row]()
	err := out.Write(record)
	return &table[Row]{
		err: err,
		write: func(r Row) error {
			v := reflect.ValueOf(r)
			for i := range record {
				switch f, ok := present(v.Field(i)); {
				case !ok:
					record[i] = ""
				case f.Kind() == reflect.String:
					record[i] = f.String()
				case f.Kind() == reflect.Float64:
					record[i] = strconv.FormatFloat(f.Float(), 'g', figures, 64)
				default:
					record[i] = strconv.FormatInt(f.Int(), 10)
				}
			}
			return out.Write(record)
		},
		end: func() error {
			out.Flush()
			return out.Error()
		},
	}
}
