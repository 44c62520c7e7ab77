package coverage

import (
	"context"
	"os"
	"strings"
	"testing"

	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
)

const two = `.version 7.8
.target sm_80
.address_size 64
.file 1 "two.cu"
.visible .entry add_f16()
{
	.reg .pred %p<2>;
	.reg .b32 %r<2>;
	.loc 1 3 0
	mov.u32 %r1, %tid.x;
	setp.gt.u32 %p1, %r1, 7;
	@%p1 bra L;
	.loc 1 4 0
	ret;
L:
	.loc 1 5 0
	add.u32 %r1, %r1, 1;
	ret;
}
.visible .entry add_f32() { .loc 1 5 0
	ret; }
`

// TestReport counts the instructions that a launch executes, and lists the lines with missing ones.
func TestReport(t *testing.T) {
	c := new(ptx.Coverage)
	dev := ptx.New(ptx.Options{Coverage: c})
	m, err := dev.Load("two.ptx", []byte(two))
	if err != nil {
		t.Fatal(err)
	}
	k, err := m.Kernel("add_f16")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Launch(context.Background(), device.Dim{X: 1, Y: 1, Z: 1}, device.Dim{X: 4, Y: 1, Z: 1}, 0); err != nil {
		t.Fatal(err)
	}
	r := Of(c)
	if want := (Count{Instructions: 7, Executed: 4, Directions: 2, DirectionsTaken: 1}); r.Count != want {
		t.Errorf("%+v, want %+v", r.Count, want)
	}
	if len(r.Kernels) != 2 || r.Kernels[0].Launches != 1 || r.Kernels[1].Executed != 0 {
		t.Errorf("%+v", r.Kernels)
	}
	if err := r.Expect(); err != nil || r.Unexpected() != 3 {
		t.Errorf("%d, %v", r.Unexpected(), err)
	}
	var b strings.Builder
	r.Write(&b)
	for _, want := range []string{
		"two.cu:3  1 of 2 branch directions, in add (f16)\n",
		"two.cu:5  3 of 3 instructions, in add (f16, f32)\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// TestExpectations: the lines in expected.json match the sources.
func TestExpectations(t *testing.T) {
	list, err := Expectations()
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if len(list[i].Why) < 20 || len(list[i].Files) == 0 {
			t.Errorf("%+v", list[i])
		}
		old, err := list[i].Stale(func(file string) ([]string, error) {
			text, err := os.ReadFile("../cu/" + file)
			return strings.Split(string(text), "\n"), err
		})
		if err != nil || len(old) > 0 {
			t.Errorf("%q, %v", old, err)
		}
	}
}

// TestEngine lists all kernels of the engine, launched or not.
func TestEngine(t *testing.T) {
	c := new(ptx.Coverage)
	if err := AddEngine(c, nil); err != nil {
		t.Fatal(err)
	}
	if r := Of(c); len(r.Kernels) < 60 || r.Instructions < 50000 || r.Executed != 0 {
		t.Errorf("%d kernels, %+v", len(r.Kernels), r.Count)
	}
}
