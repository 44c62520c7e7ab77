// Command kvc checks and plans KV-cache compression: see kvc --help.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends what does not end itself
	root := newRootCmd()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "kvc: %s\n", printable(err.Error())) // it may quote a file
	}
	return exitCode(err)
}

func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:   "kvc",
		Short: "Check and plan KV-cache compression",
		Long: `kvc runs KV-Compress (Rehg, arXiv 2410.00161), which evicts the least attended
keys and values from a language model's paged KV cache: a different number from
every attention head, in whole blocks, so that memory is really freed.`,
		Example: `  kvc validate                   the CUDA kernels against the reference, to the bit
  kvc run                        the whole pipeline, on a trace of a real model
  kvc run story --rate 0.5       keep half of what may be evicted
  kvc golden check               every bundled trace still gives its golden result
  kvc trace info six-stories     what a trace holds`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newRunCmd(), newValidateCmd(), newGoldenCmd(), newTraceCmd(), newPTXCmd(), newSimCmd(), newSweepCmd(), newPlanCmd(), newCalibrateCmd(), newHeadsCmd(), newMethodsCmd(), newDemoCmd())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	wrongUse(root)
	return root
}

// wrongUse makes every complaint about a command's arguments a usageError.
func wrongUse(cmd *cobra.Command) {
	switch {
	case cmd.Name() == "help": // of cobra's own, which shows some help for any words
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if found, rest, err := cmd.Root().Find(args); err != nil || found == nil || len(rest) > 0 {
				return fmt.Errorf("no command %q", strings.Join(args, " "))
			}
			return nil
		}
	case cmd.HasSubCommands() && cmd.Args == nil:
		cmd.Args = cobra.NoArgs
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{fmt.Errorf("%w\nsee: %s --help", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrongUse(sub)
	}
}

// version returns the module's version and the revision that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return v + " " + info.GoVersion
}
