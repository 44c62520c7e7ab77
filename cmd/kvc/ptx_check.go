package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/kernels/ptx"
)

func newPTXCheckCmd() *cobra.Command {
	var allowApprox, asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE.ptx",
		Short: "Say whether a PTX file can be run here, and list its kernels",
		Long: `Check reads a PTX file and decodes every instruction. It prints the kernels with their
parameters, in order, and what a launch of them takes; or, for a kernel that
cannot be run, the first line that prevents it, and why: exit code 1.`,
		Example: `  kvc ptx check saxpy.ptx
  kvc ptx check saxpy.ptx --allow-approx --json | jq '.kernels[].name'`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"ptx"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readPTX(args[0])
			if err != nil {
				return err
			}
			p, err := ptx.Parse(filepath.Base(args[0]), text, allowApprox)
			if err != nil {
				return failure{err}
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), struct {
					Approximate bool         `json:"approximate"`
					Kernels     []ptx.Kernel `json:"kernels"`
				}{p.Approximate(), p.Kernels()})
			} else {
				printKernels(cmd.OutOrStdout(), p)
			}
			if err != nil {
				return err
			}
			return refusedKernels(p)
		},
	}
	cmd.Flags().BoolVar(&allowApprox, "allow-approx", false, "allow instructions whose result may differ on a GPU")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// refusedKernels returns a failure if the file has kernels that cannot be run.
func refusedKernels(p *ptx.Program) error {
	var refused []string
	kernels := p.Kernels()
	for _, k := range kernels {
		if k.Refused != "" {
			refused = append(refused, k.Refused)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return failure{fmt.Errorf("%d of %s cannot be run: %s", len(refused), words.Count(len(kernels), "kernel"), refused[0])}
}

// printKernels prints a line or two for each kernel.
func printKernels(w io.Writer, p *ptx.Program) {
	kernels := p.Kernels()
	if p.Approximate() {
		fmt.Fprintln(w, "It has approximate instructions: results may differ from a GPU's.")
	}
	if len(kernels) == 0 {
		fmt.Fprintln(w, "It has no kernel.")
	}
	for _, k := range kernels {
		params := make([]string, len(k.Params))
		for i, p := range k.Params {
			params[i] = strings.TrimPrefix(p.Type, ".")
			if p.Name != fmt.Sprintf("%s_param_%d", k.Name, i) { // a compiler's name, which tells nothing
				params[i] += " " + p.Name
			}
			if p.Count != 1 {
				params[i] += fmt.Sprintf("[%d]", p.Count)
			}
		}
		fmt.Fprintf(w, "%s(%s)\n", printableLine(k.Name), printableLine(strings.Join(params, ", ")))
		if k.Refused != "" {
			fmt.Fprintf(w, "    cannot be run: %s\n", printableLine(k.Refused))
			continue
		}
		fmt.Fprintf(w, "    %s, %s", words.Count(k.Instructions, "instruction"), words.Count(k.Registers, "register"))
		if k.Shared > 0 {
			fmt.Fprintf(w, ", %s of static shared memory", words.Count(k.Shared, "byte"))
		}
		if k.Local > 0 {
			fmt.Fprintf(w, ", %s of local memory a thread", words.Count(k.Local, "byte"))
		}
		switch {
		case k.Block[0] > 0:
			fmt.Fprintf(w, "; it takes blocks of %d×%d×%d threads", k.Block[0], k.Block[1], k.Block[2])
		case k.MostThreads > 0:
			fmt.Fprintf(w, "; it takes blocks of at most %d threads", k.MostThreads)
		}
		if k.Cooperative {
			fmt.Fprint(w, "; it needs a cooperative launch")
		}
		if k.Approximate {
			fmt.Fprint(w, "; it has approximate instructions")
		}
		fmt.Fprintln(w, ".")
	}
}
