package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/kernels/device"
	"kvcompress/kernels/devices"
	"kvcompress/kernels/invoke"
	"kvcompress/kernels/ptx"
)

// ptxRunFlags are the flags of `kvc ptx run`.
type ptxRunFlags struct {
	device      deviceFlags
	entry       string
	grid, block dim
	shared      int
	cooperative bool
	args        []string
	expect      []string
	tolerance   invoke.Tolerance
	json        bool
}

func newPTXRunCmd(parsed *ptx.Cache) *cobra.Command {
	flags := ptxRunFlags{device: deviceFlags{name: devices.PTX, options: ptx.Options{Checks: ptx.AllChecks(), Cache: parsed}}}
	cmd := &cobra.Command{
		Use:   "run FILE.ptx --entry NAME --grid X[,Y[,Z]] --block X[,Y[,Z]] [--arg KIND=VALUE]…",
		Short: "Run a kernel on the CPU, under checkers, and write its buffers to files",
		Long: `Run launches one kernel of a PTX file. Each --arg is one of its parameters, in order:

  u32=1000  s64=-1  f32=1.5  b16=0x3c  a number, of type s8 to s64 (or i8 to i64), u8 to
                                       u64, b8 to b64, f16 bf16 f32 f64
  in=x.npy                             the address of a buffer with the array of a file
  in=model.safetensors#name            … with a tensor
  out=f32[8,128]:y.npy                 … of a new buffer, written to a file afterwards
  zeros=u32[256]:counts.npy            the same, filled with zeros
  inout=x.npy:y.npy                    … with the array of a file, written to a file
  tmp=f32[4096]                        … of a new buffer, for the kernel's own use
  ptr=0                                an address as it is
  struct=u32=7,in@8=x.npy              a struct by value: fields, each at an offset or at
                                       the next multiple of its size
  struct=p.bin  struct=p.hex           … or its bytes, from a file

An argument must have the size and the kind of its parameter; signedness does not matter.

A new buffer is uninitialised: it is an error if the kernel reads an element that it has
not written, or does not write one that goes to a file. zeros= is filled with zeros.

If a checker finds anything, the run continues, each different finding is reported, and no
file is written: exit code 1. --findings 1 ends the run at the first. --suppress
race@scan.cu:88 ignores findings of a kind and line. Reports have lines of the .cu file if
the PTX has them (nvcc -lineinfo, clang -gline-directives-only).

Instructions whose results may differ on a GPU are refused: approximate ones, and f32
additions and multiplications that may be fused. --allow-approx runs them.

--cooperative launches as cudaLaunchCooperativeKernel does: all blocks are resident together
and may wait for each other (cooperative groups' grid sync, the kernel's own barriers of the
grid, decoupled look-back).

--expect compares a buffer with a file. The buffer is named by the kind of its argument if
there is only one of this kind (out=ref.npy), by the file that it is written to, by the
argument's index from 0 or by the parameter's name. Bits must be equal unless --ulp,
--rtol or --atol allow a difference.`,
		Example: `  kvc ptx run saxpy.ptx --entry saxpy --grid 8 --block 128 \
      --arg u32=1000 --arg f32=2 --arg in=x.npy --arg inout=y.npy:sum.npy
  kvc ptx run sum.ptx --entry block_sums --grid 16 --block 256 --shared 1024 \
      --arg in=x.npy --arg out=f32[16]:sums.npy --arg u32=4096 --shuffle 7
  kvc ptx run k.ptx --entry k --grid 1 --block 32 --checks all,-races --json
  kvc ptx run k.ptx --entry 'scale(float*, int)' --grid 1 --block 32 --arg inout=x.npy:y.npy \
      --arg s32=32 --expect y.npy=ref.npy --rtol 1e-5
  kvc ptx run solve.ptx --entry jacobi --grid 64 --block 256 --cooperative --arg inout=x.npy:y.npy`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"ptx"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error { return ptxRun(cmd, args[0], &flags) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&flags.entry, "entry", "", "the kernel's `name`, as it is or in C++; kvc ptx check lists them")
	fs.Var(&flags.grid, "grid", "blocks")
	fs.Var(&flags.block, "block", "threads of a block")
	fs.IntVar(&flags.shared, "shared", 0, "`bytes` of dynamic shared memory")
	fs.BoolVar(&flags.cooperative, "cooperative", false, "all blocks are resident together, and may wait for each other")
	fs.StringArrayVar(&flags.args, "arg", nil, "the next parameter, `KIND=VALUE`")
	fs.StringArrayVar(&flags.expect, "expect", nil, "compare a buffer with a file afterwards, `BUFFER=FILE`")
	fs.Uint64Var(&flags.tolerance.ULP, "ulp", 0, "let floats differ by this many `ulp`")
	fs.Float64Var(&flags.tolerance.Rel, "rtol", 0, "let floats differ by `R` times the expected one")
	fs.Float64Var(&flags.tolerance.Abs, "atol", 0, "let floats differ by `A` more")
	for _, name := range []string{"ulp", "rtol", "atol"} {
		needs(fs, name, "expect")
	}
	flags.device.add(fs)
	addRun(fs, &flags.device.options)
	fs.BoolVar(&flags.json, "json", false, "print the result as JSON")
	return cmd
}

// ptxResult is what `kvc ptx run --json` prints.
type ptxResult struct {
	File         string              `json:"file"`
	Entry        string              `json:"entry"`
	Device       string              `json:"device"`
	Grid         [3]int              `json:"grid"`
	Block        [3]int              `json:"block"`
	Shared       int                 `json:"shared"`
	Cooperative  bool                `json:"cooperative,omitempty"`
	Checks       string              `json:"checks,omitempty"` // of the PTX machine
	Instructions int64               `json:"instructions,omitempty"`
	Seconds      float64             `json:"seconds"`
	Buffers      []invoke.Buffer     `json:"buffers"`
	Printed      string              `json:"printed,omitempty"`  // by the kernel
	Fault        *ptxFault           `json:"fault,omitempty"`    // the first finding
	Findings     []ptxFinding        `json:"findings,omitempty"` // all
	Suppressed   int64               `json:"suppressed"`
	Expected     []invoke.Comparison `json:"expected,omitempty"`
	Error        string              `json:"error,omitempty"`
}

func ptxRun(cmd *cobra.Command, path string, flags *ptxRunFlags) (err error) {
	for _, name := range []string{"entry", "grid", "block"} {
		if !cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s is needed", name)}
		}
	}
	l := invoke.Launch{Entry: flags.entry, Grid: flags.grid.Dim, Block: flags.block.Dim, Shared: flags.shared, Cooperative: flags.cooperative}
	for _, text := range flags.args {
		a, err := invoke.ParseArg(text)
		if err != nil {
			return usageError{err}
		}
		l.Args = append(l.Args, a)
	}
	for _, text := range flags.expect {
		e, err := invoke.ParseExpect(text)
		if err != nil {
			return usageError{err}
		}
		l.Expect = append(l.Expect, e)
	}
	if l.Tolerance = flags.tolerance; !(l.Tolerance.Rel >= 0 && l.Tolerance.Abs >= 0) {
		return usageError{errors.New("--rtol and --atol: want numbers of at least 0")}
	}
	text, err := readPTX(path)
	if err != nil {
		return err
	}
	var printed bytes.Buffer
	flags.device.options.Output = &printed
	if !flags.json {
		flags.device.options.Output = printableWriter{cmd.OutOrStdout()}
	}
	dev, err := flags.device.open()
	if err != nil {
		return err
	}
	var kernels []ptx.Kernel
	if l.Module, kernels, err = invoke.LoadModule(dev, filepath.Base(path), text); err != nil {
		return errors.Join(err, dev.Close())
	}
	kernel, err := invoke.FindKernel(kernels, l.Entry)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), dev.Close())
	}
	l.Entry, l.Params = kernel.Name, kernel.Params
	done, err := invoke.Run(cmd.Context(), dev, l)
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: no file is written")
	}
	err = errors.Join(err, dev.Close())
	if done.Buffers == nil {
		done.Buffers = []invoke.Buffer{} // [] and not null in JSON
	}

	r := ptxResult{
		File: path, Entry: l.Entry, Device: dev.Name(), Shared: l.Shared, Cooperative: l.Cooperative,
		Grid: [3]int{l.Grid.X, l.Grid.Y, l.Grid.Z}, Block: [3]int{l.Block.X, l.Block.Y, l.Block.Z},
		Seconds: done.Time.Seconds(), Buffers: done.Buffers,
	}
	if machine, ok := dev.(*ptx.Device); ok {
		r.Checks = flags.device.options.Checks.String()
		r.Instructions = machine.Instructions()
		r.Printed = printed.String()
		r.Suppressed = machine.Suppressed()
	}
	r.Expected = done.Expected
	differ := false
	for i := range r.Expected {
		differ = differ || !r.Expected[i].Agree
	}
	found := findingsOf(err)
	if err != nil {
		r.Error = err.Error()
		if len(found) > 0 {
			r.Fault = newPTXFault(found[0].Report)
			r.Findings = newPTXFindings(found)
		}
	}
	if flags.json {
		if err := printJSON(cmd.OutOrStdout(), r); err != nil {
			return err
		}
	} else if err == nil {
		err = printPTXResult(cmd.OutOrStdout(), r, l)
	} else {
		printFindings(cmd.OutOrStdout(), found)
		printSuppressed(cmd.OutOrStdout(), r.Suppressed)
	}
	switch {
	case err == nil && differ:
		return failure{errors.New("a buffer is not as expected")}
	case len(found) > 0:
		return failure{err}
	}
	return err
}

// printableWriter writes the output of a kernel without characters that could affect a terminal.
type printableWriter struct{ w io.Writer }

func (p printableWriter) Write(b []byte) (int, error) {
	_, err := io.WriteString(p.w, printable(string(b)))
	return len(b), err
}

// printPTXResult prints the launch and the buffers that were written.
func printPTXResult(out io.Writer, r ptxResult, l invoke.Launch) error {
	threads := int64(r.Block[0]) * int64(r.Block[1]) * int64(r.Block[2])
	fmt.Fprintf(out, "%s: grid %s, block %s (%s), %s of dynamic shared memory.\n",
		r.Entry, shortDim(l.Grid), shortDim(l.Block), words.Count(threads, "thread"), words.Count(r.Shared, "byte"))
	fmt.Fprintf(out, "%s took %.3g ms", r.Device, 1e3*r.Seconds)
	if r.Instructions > 0 {
		fmt.Fprintf(out, " for %s, %.3g million a second", words.Count(r.Instructions, "thread instruction"), float64(r.Instructions)/1e6/r.Seconds)
	}
	if r.Checks != "" {
		fmt.Fprintf(out, "; checks: %s", r.Checks)
	}
	fmt.Fprint(out, ".\n")
	printSuppressed(out, r.Suppressed)
	for i := range r.Expected {
		fmt.Fprintf(out, "%s\n", printableLine(r.Expected[i].String()))
	}
	if len(r.Buffers) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WRITTEN TO\tTYPE\tSHAPE\tMIN\tMAX\tNANS")
	for _, b := range r.Buffers {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\n", printableLine(b.File), b.Type, invoke.ShapeText(b.Shape), number(b.Min), number(b.Max), b.NaNs)
	}
	return table.Flush()
}

func shortDim(d device.Dim) string { return (&dim{d}).String() }

// number formats a number that may be absent.
func number(n *invoke.Number) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatFloat(float64(*n), 'g', 6, 64)
}
