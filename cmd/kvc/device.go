package main

import (
	"github.com/spf13/pflag"

	"kvcompress/kernels/device"
	"kvcompress/kernels/devices"
	"kvcompress/kernels/ptx"
)

// deviceFlags are the flags of a command that runs kernels.
type deviceFlags struct {
	name    string      // of devices
	options ptx.Options // of the PTX machine
}

// add defines --device, --checks and --shuffle. The values of the struct are the defaults.
func (f *deviceFlags) add(fs *pflag.FlagSet) {
	fs.Var(&enum[string]{&f.name, devices.Names()}, "device",
		"where kernels run: a GPU (cuda), or the PTX machine on the CPU (ptx)")
	fs.Var(&checksValue{&f.options.Checks}, "checks",
		"checkers of the PTX machine: all, none, or some of "+ptx.AllChecks().String())
	fs.Uint64Var(&f.options.Shuffle, "shuffle", f.options.Shuffle,
		"seed of the order in which the PTX machine runs blocks and warps; 0: in order, one after the other")
}

// optional is called after add where kernels run only with --device.
func (f *deviceFlags) optional(fs *pflag.FlagSet) {
	for _, name := range []string{"checks", "shuffle"} {
		needs(fs, name, "device")
	}
}

// allChecks lists the checkers of the PTX machine, with commas.
func allChecks() string { return ptx.AllChecks().String() }

// open opens the device that the flags ask for.
func (f *deviceFlags) open() (device.Device, error) { return devices.Open(f.name, f.options) }

// checksValue is the value of --checks.
type checksValue struct{ checks *ptx.Checks }

// Set takes a list of names with commas.
func (v *checksValue) Set(list string) (err error) {
	*v.checks, err = ptx.ParseChecks(list)
	return err
}

func (v *checksValue) String() string {
	switch {
	case v.checks == nil: // pflag calls String of a zero value to recognize the default
		return ""
	case *v.checks == ptx.AllChecks():
		return "all"
	}
	return v.checks.String()
}

// Type returns the name of the value in --help.
func (v *checksValue) Type() string { return "list" }
