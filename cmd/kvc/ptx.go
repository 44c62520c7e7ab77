package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"kvcompress/kernels/device"
	"kvcompress/kernels/invoke"
	"kvcompress/kernels/ptx"
	"kvcompress/trace/regular"
)

// maxPTX bounds a file of PTX; a large library's takes a few MiB.
const maxPTX = 64 << 20

func newPTXCmd(parsed *ptx.Cache) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ptx",
		Short: "Run and check anyone's CUDA kernels without a GPU",
		Long: `PTX is what CUDA compilers make of a kernel, and what a driver compiles for a GPU.
Here a machine executes it on the CPU, under checkers that find what compute-sanitizer
finds: accesses outside memory, uninitialised reads, races, and barriers that not
every thread reaches. docs/ptx-run.md has an example from a .cu file on.`,
		Example: `  kvc ptx check saxpy.ptx
  kvc ptx run saxpy.ptx --entry saxpy --grid 8 --block 128 \
      --arg u32=1000 --arg f32=2 --arg in=x.npy --arg inout=y.npy:sum.npy`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPTXRunCmd(parsed), newPTXCheckCmd(), newPTXScriptCmd(parsed), newPTXCaptureCmd(parsed), newPTXMutateCmd())
	return cmd
}

// readPTX reads a file of PTX.
func readPTX(path string) ([]byte, error) {
	text, err := regular.ReadFile(path, maxPTX)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", path, err)}
	}
	return text, nil
}

// dim is the value of --grid and --block: X, X,Y or X,Y,Z.
type dim struct{ device.Dim }

// Set takes up to three numbers, each from 1 to 2147483647.
func (d *dim) Set(s string) (err error) {
	d.Dim, err = invoke.ParseDim(s)
	return err
}

func (d *dim) String() string {
	switch {
	case d.Dim == device.Dim{}:
		return ""
	case d.Z > 1:
		return fmt.Sprintf("%d,%d,%d", d.X, d.Y, d.Z)
	case d.Y > 1:
		return fmt.Sprintf("%d,%d", d.X, d.Y)
	}
	return strconv.Itoa(d.X)
}

// Type returns the name of the value in --help.
func (d *dim) Type() string { return "X[,Y[,Z]]" }
