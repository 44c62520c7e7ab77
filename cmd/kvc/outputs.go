package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/output"
)

// outputKind says what a flag names that a command writes.
type outputKind string

const (
	outputFile   outputKind = "file"
	outputFolder outputKind = "folder"     // that other files may be in
	outputNew    outputKind = "new folder" // or an empty one
)

// outputAnnotation is the annotation of a flag that has an outputKind.
const outputAnnotation = "kvc_output"

// writes says of a flag that a command writes to what it names, which is checked before the
// command begins. Of a file, exts are the extensions that a shell completes.
func writes(cmd *cobra.Command, kind outputKind, name string, exts ...string) {
	// The only errors are of flags that do not exist.
	_ = cmd.Flags().SetAnnotation(name, outputAnnotation, []string{string(kind)})
	if kind == outputFile {
		_ = cmd.MarkFlagFilename(name, exts...)
	} else {
		_ = cmd.MarkFlagDirname(name)
	}
}

// kindOf returns what a flag names that is written, "" if it is not.
func kindOf(f *pflag.Flag) outputKind {
	if kind := f.Annotations[outputAnnotation]; len(kind) == 1 {
		return outputKind(kind[0])
	}
	return ""
}

// checkedOutputs has all commands check before they begin whether what they are to write can
// be written, and whether it would overwrite what they are to read, or each other.
func checkedOutputs(cmd *cobra.Command) {
	if work := cmd.RunE; work != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := checkOutputs(cmd, args); err != nil {
				return err
			}
			return work(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		checkedOutputs(sub)
	}
}

// namedOutput is a flag and the path that it names.
type namedOutput struct {
	flag, path string
	kind       outputKind
}

func checkOutputs(cmd *cobra.Command, args []string) error {
	var outputs []namedOutput
	words := slices.Clone(args)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Changed {
			return
		}
		if kind := kindOf(f); kind != "" {
			if path := f.Value.String(); path != "" {
				outputs = append(outputs, namedOutput{"--" + f.Name, path, kind})
			}
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			words = append(words, list.GetSlice()...)
		} else {
			words = append(words, f.Value.String())
		}
	})
	for i, o := range outputs {
		for _, other := range outputs[:i] {
			if output.Same(o.path, other.path) && o.kind == other.kind {
				return usagef("%s and %s are the same %s, %s", other.flag, o.flag, o.kind, o.path)
			}
		}
		if o.kind != outputFile {
			continue
		}
		if input := overwritten(o.path, words); input != "" {
			return usagef("%s %s: it would overwrite %s, which is read", o.flag, o.path, input)
		}
	}
	for _, o := range outputs {
		check := map[outputKind]func(string) error{
			outputFile: output.Check, outputFolder: output.CheckFolder, outputNew: output.CheckNewFolder,
		}[o.kind]
		if err := check(o.path); err != nil {
			return fmt.Errorf("%s: %w", o.flag, err)
		}
	}
	return nil
}

// overwritten returns which file that a command line names is the one at path, by whatever
// links, or lies in a folder that it names; "" if none is.
func overwritten(path string, words []string) string {
	if _, err := os.Stat(path); err != nil {
		return "" // nothing is lost
	}
	for _, word := range words {
		for _, name := range namesIn(word) {
			info, err := os.Stat(name)
			if err != nil {
				continue
			}
			if output.Same(name, path) {
				return name
			}
			if info.IsDir() {
				if file := inputIn(name, path); file != "" {
					return file
				}
			}
		}
	}
	return ""
}

// namesIn returns what may be names of files in an argument, such as x.csv,model=M, @ids.txt,
// map=heads.json and TRACE/METHOD.
func namesIn(word string) []string {
	if dir, method := filepath.Split(word); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "methods", strings.TrimSuffix(method, "..."))); err == nil {
			return []string{word, dir}
		}
	}
	names := append([]string{word}, strings.FieldsFunc(word, func(r rune) bool { return strings.ContainsRune("=,:@#", r) })...)
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// inputKinds are the extensions of what is read from the folders of traces, models, dumps
// and exports.
func inputKinds() []string {
	return []string{".json", ".jsonl", ".safetensors", ".bin", ".npy", ".part", ".yaml", ".txt"}
}

// inputIn returns the file of a folder, or of a replay's folder in it, that is the one at
// path.
func inputIn(dir, path string) string {
	for _, pattern := range []string{"*", filepath.Join("methods", "*", "*")} {
		files, err := filepath.Glob(filepath.Join(escaped(dir), pattern))
		if err != nil {
			continue
		}
		for _, file := range files {
			if slices.Contains(inputKinds(), filepath.Ext(file)) && output.Same(file, path) {
				return file
			}
		}
	}
	return ""
}

// escaped is a path in which filepath.Glob finds nothing special.
func escaped(path string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
