package main

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kvcompress/internal/output"
	"kvcompress/kernels/ptx"
	"kvcompress/npy"
)

// The kernel of the demonstration: demo/build makes the PTX of the source.
var (
	//go:embed demo/sum.cu
	demoSource []byte
	//go:embed demo/sum.ptx
	demoPTX []byte
)

// demoAct is one command of the demonstration.
type demoAct struct {
	title   string
	command string // with DIR for the folder of the demonstration
	code    int    // expected exit code
}

// demoActs are the commands of the demonstration, in order.
func demoActs() []demoAct {
	return []demoAct{
		{
			"A kernel on the CPU, under checkers. It sums blocks of numbers, and a __syncthreads()\nis missing between two of its steps: the checker finds the race and its line.",
			"ptx run DIR/sum.ptx --entry sum --grid 4 --block 256 --arg in=DIR/numbers.npy --arg out=f32[4]:DIR/sums.npy --findings 1",
			exitFailed,
		},
		{
			"KV-Compress on a prompt of 1,024 tokens: it is compressed to 256 KVs per head on average\nand stays there. Heads that attend far back keep most: see \"Kept\".",
			"run recall --max-cache-tokens 256 --plot DIR/kept.png",
			exitDone,
		},
		{
			"A load to plan for: 500 requests, four a second.",
			"trace generate --requests 500 --arrivals poisson:4/s --prompt lognormal:1500,8000 --output lognormal:150,900 --seed 1 -o DIR/requests",
			exitDone,
		},
		{
			"Which card serves it, at which price, with or without compression?",
			"plan --requests DIR/requests --model llama-3.1-8b --gpu l4,l40s,h100 --price l4=0.80,l40s=1.60,h100=3.00 --compression none,rate:0.5 --slo-ttft 2s --slo-tpot 80ms --html DIR/plan.html",
			exitDone,
		},
	}
}

func newDemoCmd(parsed *ptx.Cache) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See in half a minute what kvc does",
		Long: `Demo runs four commands, prints each before its output, and leaves what they made in
a folder: a kernel with a race and the line of it, a compression step by step, and a
plan of servers as a page.`,
		Example: `  kvc demo
  kvc demo -o /tmp/kvc-demo`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, dir, parsed) },
	}
	cmd.Flags().StringVarP(&dir, "out", "o", "kvc-demo", "new `folder` for what the commands read and make")
	writes(cmd, outputNew, "out")
	return cmd
}

func runDemo(cmd *cobra.Command, dir string, parsed *ptx.Cache) error {
	if files, err := os.ReadDir(dir); err == nil && len(files) > 0 {
		return usageError{fmt.Errorf("%s is not empty: choose another folder with -o", dir)}
	}
	if strings.HasPrefix(dir, "-") {
		dir = "./" + dir // not a flag of the commands
	}
	if err := writeDemoFiles(dir); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	for i, act := range demoActs() {
		command := strings.ReplaceAll(act.command, "DIR", quoted(dir))
		fmt.Fprintf(out, "%d. %s\n\n$ kvc %s\n", i+1, act.title, command)
		args := strings.Fields(act.command)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "DIR", dir)
		}
		root := newRootCmd(out, parsed)
		root.SetArgs(args)
		root.SetErr(cmd.ErrOrStderr())
		err := root.ExecuteContext(cmd.Context())
		switch code := exitCode(cmd.Context(), err); {
		case errors.Is(err, context.Canceled):
			return err
		case code != act.code && err != nil:
			return fmt.Errorf("kvc %s: %w", command, err)
		case code != act.code:
			return failure{fmt.Errorf("kvc %s: exit code %d, want %d", command, code, act.code)}
		case err != nil:
			fmt.Fprintf(out, "(exit code %d)\n", code)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "In %s: the kernel sum.cu and its sum.ptx, kept.png (what each head kept), and plan.html.\n", dir)
	return nil
}

// writeDemoFiles writes what the commands read: the kernel, and numbers for it.
func writeDemoFiles(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	const n = 1024
	numbers, err := npy.AppendHeader(nil, npy.Header{Type: "<f4", Shape: []int64{n}})
	if err != nil {
		return err
	}
	for i := range n {
		numbers = binary.LittleEndian.AppendUint32(numbers, math.Float32bits(float32(i)))
	}
	for name, data := range map[string][]byte{"sum.cu": demoSource, "sum.ptx": demoPTX, "numbers.npy": numbers} {
		if err := output.WriteBytes(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}
