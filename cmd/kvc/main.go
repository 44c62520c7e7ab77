// Command kvc checks and plans KV-cache compression: see kvc --help.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kvcompress/internal/work"
	"kvcompress/kernels/ptx"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // a write to a closed pipe then returns an error
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second Ctrl-C ends the program at once
		// End even if something cannot be interrupted, such as a read from a disk that does not
		// answer. Files are written whole or not at all, so this leaves no partial file.
		time.AfterFunc(grace, func() {
			fmt.Fprintln(os.Stderr, "kvc: interrupted: it ended before it had printed all results, or removed its temporary files (.NAME.….tmp), which the same command removes when it runs again")
			os.Exit(exitInterrupted)
		})
	})
	os.Exit(runContext(ctx, os.Args[1:], os.Stdout, os.Stderr, new(ptx.Cache)))
}

// grace is how long an interrupted command may take to print what it has finished.
const grace = 450 * time.Millisecond

// runContext executes one command line and returns its exit code. It interrupts the command when ctx is
// done. parsed keeps the modules of PTX that command lines of this process have parsed.
func runContext(ctx context.Context, args []string, stdout, stderr io.Writer, parsed *ptx.Cache) int {
	working, stop := context.WithCancel(ctx)
	defer stop()
	out := &standardOutput{w: stdout, failed: stop}
	root := newRootCmd(out, parsed)
	if completes(args) {
		completed(root)
	}
	root.SetArgs(args)
	root.SetErr(stderr)
	err := func() (err error) {
		defer work.Recover(&err)
		return root.ExecuteContext(working)
	}()
	if broken := out.broken(); broken != nil {
		err = broken // other errors are its consequences
	}
	if err != nil {
		text := inWords.Replace(err.Error())
		fmt.Fprintf(stderr, "kvc: %s\n", bounded(printable(text))) // the error may quote a file
	}
	return exitCode(ctx, err)
}

// inWords replaces errors of Go's packages by what they mean here.
var inWords = strings.NewReplacer(
	context.Canceled.Error(), "interrupted",
	io.ErrUnexpectedEOF.Error(), "it ends too early",
)

// newRootCmd returns kvc. Results go to out, and the PTX machine keeps modules in parsed.
func newRootCmd(out io.Writer, parsed *ptx.Cache) *cobra.Command {
	root := &cobra.Command{
		Use:   "kvc",
		Short: "Check, plan and judge KV cache compression",
		Long: `kvc checks, plans and judges methods that compress the KV cache of a language model:
it compares CUDA kernels with a readable reference to the bit, projects what a server
does with and without compression, and measures what each method loses in quality.

The methods (kvc methods) include KV-Compress (Rehg, arXiv 2410.00161). It evicts the
KVs that receive the least attention from a paged cache: a different number from each
attention head, and always whole blocks, which other requests can then use.`,
		Example: `  kvc validate                   the CUDA kernels against the reference, to the bit
  kvc run                        serve a recorded trace: what is evicted, and the memory
  kvc run story --rate 0.5       keep half of what may be evicted
  kvc golden check               every bundled trace still gives its golden result
  kvc trace info six-stories     describe a trace`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newRunCmd(), newValidateCmd(parsed), newGoldenCmd(parsed), newTraceCmd(), newPTXCmd(parsed), newSimCmd(), newSweepCmd(), newPlanCmd(), newCalibrateCmd(), newHeadsCmd(), newMethodsCmd(), newGenerateCmd(parsed), newBenchCmd(parsed), newDemoCmd(parsed), newVersionCmd())
	root.SetOut(out) // which the commands of cobra ask for here
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	wrongUse(root)
	checked(root)
	readableHelp(root)
	return root
}

// wrongUse makes every error about a command's arguments a usageError.
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
	if !cmd.Runnable() { // cobra would print the help whatever the arguments
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{fmt.Errorf("%w\nsee: %s --help", commandError(cmd, args, err), cmd.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrongUse(sub)
	}
}
