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

// outputKind is the kind of output that a flag names.
type outputKind string

const (
	outputFile   outputKind = "file"
	outputFolder outputKind = "folder"     // it may have other files
	outputNew    outputKind = "new folder" // new or empty
)

// outputAnnotation is the key of a flag's annotation with its outputKind.
const outputAnnotation = "kvc_output"

// writes declares that a flag names an output, which is checked before the command begins. exts
// are the extensions of files that a shell completes.
func writes(cmd *cobra.Command, kind outputKind, name string, exts ...string) {
	// It fails only for a flag that does not exist.
	_ = cmd.Flags().SetAnnotation(name, outputAnnotation, []string{string(kind)})
	if kind == outputFile {
		_ = cmd.MarkFlagFilename(name, exts...)
	} else {
		_ = cmd.MarkFlagDirname(name)
	}
}

// kindOf returns the kind of output that a flag names, "" if none.
func kindOf(f *pflag.Flag) outputKind {
	if kind := f.Annotations[outputAnnotation]; len(kind) == 1 {
		return outputKind(kind[0])
	}
	return ""
}

// namedOutput is a flag and the path that it names.
type namedOutput struct {
	flag, path string
	kind       outputKind
}

// checkOutputs returns an error if an output cannot be written, or would overwrite an input or
// another output.
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

// overwritten returns the input that writing to path would overwrite: a file that the command
// line names, or a file in a folder that it names, also through links. It returns "" if there is
// none.
func overwritten(path string, words []string) string {
	if _, err := os.Stat(path); err != nil {
		return "" // there is no file at path
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

// namesIn returns the possible names of files in an argument such as x.csv,model=M, @ids.txt,
// map=heads.json or TRACE/METHOD.
func namesIn(word string) []string {
	if dir, method := filepath.Split(word); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "methods", strings.TrimSuffix(method, "..."))); err == nil {
			return []string{word, dir}
		}
	}
	names := append([]string{word}, strings.FieldsFunc(word, func(r rune) bool { return strings.ContainsRune("=,:@#", r) })...)
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// inputKinds returns the extensions of files that are read from the folders of traces, models,
// dumps and exports.
func inputKinds() []string {
	return []string{".json", ".jsonl", ".safetensors", ".bin", ".npy", ".part", ".yaml", ".txt"}
}

// inputIn returns the file in a folder, or in the folder of one of its replays, that is the same
// as the one at path; "" if there is none.
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

// escaped returns a path in which filepath.Glob takes every character literally.
func escaped(path string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
