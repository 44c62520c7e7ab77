package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/ref"
)

func newMethodsCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "methods [NAME]",
		Short: "List the compression methods: what each observes, does and costs",
		Long: `Methods prints the table of methods that --method takes. With a NAME it describes one:
which attention it observes, what it does to which KVs and when, which of the KVs that it
holds a query reads, the bytes of a token, what --max-cache-tokens and --rate mean for it,
its own options with their defaults, and the published code that it was compared with.`,
		Example: `  kvc methods
  kvc methods snapkv
  kvc methods --json`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return methodNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			entries := ref.Methods()
			if len(args) > 0 {
				e, err := ref.FindMethod(args[0])
				if err != nil {
					return usageError{err}
				}
				entries = []ref.Entry{e}
			}
			out := cmd.OutOrStdout()
			switch {
			case asJSON && len(args) > 0:
				return printJSON(out, methodJSON(&entries[0]))
			case asJSON:
				list := make([]methodInfo, len(entries))
				for i := range entries {
					list[i] = methodJSON(&entries[i])
				}
				return printJSON(out, list)
			case len(args) > 0:
				return printMethod(out, &entries[0])
			default:
				return printMethods(out, entries)
			}
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the table as JSON")
	return cmd
}

func methodNames() []string {
	var names []string
	for _, e := range ref.Methods() {
		names = append(names, e.Name)
	}
	return names
}

// methodInfo is a method as --json prints it.
type methodInfo struct {
	Name        string       `json:"name"`
	Paper       string       `json:"paper"`
	Watches     string       `json:"watches"`
	Does        string       `json:"does"`
	From        string       `json:"from"`
	When        string       `json:"when"`
	Reads       string       `json:"reads"`
	Payload     string       `json:"payload_bytes"`
	CacheTokens string       `json:"max_cache_tokens"`
	Rate        string       `json:"rate"`
	HeldAgainst string       `json:"held_against"`
	Options     []ref.Option `json:"options"`
}

func methodJSON(e *ref.Entry) methodInfo {
	options := optionsOf(e)
	if options == nil {
		options = []ref.Option{}
	}
	return methodInfo{e.Name, e.Paper, e.Watches, e.Does, e.From, e.When, e.Reads, e.Payload, e.CacheTokens, e.Rate, e.HeldAgainst, options}
}

// printMethods prints the table, a line or two for each method.
func printMethods(w io.Writer, entries []ref.Entry) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "METHOD\tPAPER\tDOES\tWHEN")
	for i := range entries {
		e := &entries[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", e.Name, short(e.Paper), short(e.Does), short(e.When))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "\nkvc methods NAME describes one in full. D is the head size, b the bytes of a value.")
	return err
}

// short returns the beginning of a text, up to its first comma, colon, semicolon or
// bracket, so that a row fits a line.
func short(text string) string {
	if i := strings.IndexAny(text, ",;:("); i > 0 {
		text = text[:i]
	}
	return strings.TrimSpace(text)
}

// printMethod prints the full description of a method.
func printMethod(w io.Writer, e *ref.Entry) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"method", e.Name}, {"paper", e.Paper}, {"watches", e.Watches}, {"does", e.Does}, {"from", e.From}, {"when", e.When},
		{"reads", e.Reads}, {"payload", e.Payload + " bytes for each token and KV head"},
		{"--max-cache-tokens", e.CacheTokens}, {"--rate", e.Rate}, {"held against", e.HeldAgainst},
	} {
		lines := wrap(row[1], 78)
		fmt.Fprintf(t, "%s\t%s\n", row[0], lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(t, "\t%s\n", line)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	options := optionsOf(e)
	if len(options) == 0 {
		_, err := fmt.Fprintln(w, "\nIt has no options of its own.")
		return err
	}
	if e.Name == ref.KVCompress {
		fmt.Fprintln(w, "\nOptions, which are flags:")
	} else {
		fmt.Fprintln(w, "\nOptions, as --set KEY=VALUE:")
	}
	for _, o := range options {
		lines := wrap(o.Help, 70)
		fmt.Fprintf(t, "  %s\t%s\t%s\n", o.Key, o.Default, lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(t, "\t\t%s\n", line)
		}
	}
	return t.Flush()
}

// optionsOf lists a method's own options. Those of KV-Compress are its flags.
func optionsOf(e *ref.Entry) []ref.Option {
	if e.Name != ref.KVCompress {
		return e.Options()
	}
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	addOptionFlags(fs)
	var options []ref.Option
	for _, name := range kvCompressFlags {
		f := fs.Lookup(name)
		_, usage := pflag.UnquoteUsage(f)
		options = append(options, ref.Option{Key: "--" + name, Default: f.DefValue, Help: usage})
	}
	return options
}

// wrap breaks a text into lines of at most width bytes, unless a word is longer.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
