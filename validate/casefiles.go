package validate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"kvcompress/safetensors"
	"kvcompress/trace/regular"
)

// CasesReport is the result of comparing recorded cases: those of one file, or of all files of a folder.
type CasesReport struct {
	Cases   int           `json:"cases"` // number of compared cases
	Agree   int           `json:"agree"`
	Skipped int           `json:"skipped"` // cases of methods that are not implemented
	Files   []FileOfCases `json:"by_file"`
	Results []CaseResult  `json:"results"` // every case, in order
}

// FileOfCases is the summary of one file of recorded cases.
type FileOfCases struct {
	Name    string `json:"name"`
	Kind    string `json:"kind,omitempty"` // kind of its cases; the first, if there are several
	Cases   int    `json:"cases"`          // number of compared cases
	Agree   int    `json:"agree"`
	Skipped int    `json:"skipped"`
	Error   string `json:"error,omitempty"` // why it could not be read
}

// errNoCases means that a JSON object has something other than recorded cases.
var errNoCases = errors.New(`cases: neither an array of cases nor an object with "method" and "cases"`)

// CasesAt replays the recorded cases of a file, or of every .json file of a folder and its subfolders; files
// with another kind of JSON object are skipped. It returns an error if a file cannot be read or the context
// ends; the report then has the cases compared so far. Disagreements are in the report, not in the error.
func CasesAt(ctx context.Context, name string) (CasesReport, error) {
	info, err := os.Stat(name)
	if err != nil {
		return CasesReport{}, fmt.Errorf("%s: %w", name, regular.Short(err))
	}
	if !info.IsDir() {
		return CasesIn(ctx, os.DirFS(filepath.Dir(name)), filepath.Base(name))
	}
	files := os.DirFS(name)
	var names []string
	for _, pattern := range []string{"*.json", "*/*.json"} {
		found, err := fs.Glob(files, pattern)
		if err != nil {
			return CasesReport{}, err
		}
		names = append(names, found...)
	}
	if len(names) == 0 {
		return CasesReport{}, fmt.Errorf("%s: no .json file in the folder, nor in a folder in it", name)
	}
	report, err := CasesIn(ctx, files, names...)
	if err == nil && len(report.Files) == 0 {
		err = fmt.Errorf("%s: none of its .json files has recorded cases", name)
	}
	return report, err
}

// CasesIn is CasesAt for named files of a file system.
func CasesIn(ctx context.Context, files fs.FS, names ...string) (CasesReport, error) {
	report := CasesReport{Files: []FileOfCases{}, Results: []CaseResult{}}
	var errs []error
	for _, name := range names {
		results, err := caseFile(ctx, files, name)
		if ctx.Err() != nil {
			return report, err
		}
		if errors.Is(err, errNoCases) && len(names) > 1 {
			continue
		}
		file := FileOfCases{Name: name}
		if err != nil {
			file.Error = err.Error()
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		for _, r := range results {
			r.File = name
			report.Results = append(report.Results, r)
			if file.Kind == "" {
				file.Kind = r.Kind
			}
			switch {
			case r.Skipped != "":
				file.Skipped++
				continue
			case r.Agree:
				file.Agree++
			}
			file.Cases++
		}
		report.Cases += file.Cases
		report.Agree += file.Agree
		report.Skipped += file.Skipped
		report.Files = append(report.Files, file)
	}
	return report, errors.Join(errs...)
}

// maxMethodBytes bounds the size of a JSON file with a method's recorded cases, which is read whole.
const maxMethodBytes = 1 << 26

// caseFile replays one file: an array of eviction decisions or prefill metrics, or the recorded cases of a
// method, with tensors in a file beside it.
func caseFile(ctx context.Context, files fs.FS, name string) ([]CaseResult, error) {
	f, err := regular.Open(files, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	first, err := firstByte(r)
	if err != nil {
		return nil, err
	}
	if first != '{' {
		return Cases(ctx, r)
	}
	text, err := regular.ReadAll(r, maxMethodBytes)
	if err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	}
	tensors, closeTensors, err := besides(files, name)
	if err != nil {
		return nil, err
	}
	defer closeTensors()
	return methodCases(ctx, text, tensors)
}

// firstByte returns the first byte that is not white space, without consuming it.
func firstByte(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.ReadByte()
		if err == io.EOF {
			return 0, errors.New("cases: the file is empty")
		}
		if err != nil {
			return 0, err
		}
		if bytes.IndexByte([]byte(" \t\r\n"), b) < 0 {
			return b, r.UnreadByte()
		}
	}
}

// besides opens the tensors of a file of cases: X.safetensors beside X.json. tensors is nil if there are
// none.
func besides(files fs.FS, name string) (tensors *safetensors.File, closeTensors func() error, err error) {
	none := func() error { return nil }
	name = name[:len(name)-len(path.Ext(name))] + ".safetensors"
	f, err := regular.Open(files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, none, nil
	}
	if err != nil {
		return nil, none, fmt.Errorf("%s: %w", path.Base(name), err)
	}
	info, err := f.Stat()
	r, ok := f.(io.ReaderAt)
	if err == nil && !ok {
		err = fmt.Errorf("%s cannot be read at an offset", name)
	}
	if err == nil {
		tensors, err = safetensors.Open(r, info.Size(), name)
	}
	if err != nil {
		return nil, none, errors.Join(err, f.Close())
	}
	return tensors, f.Close, nil
}
