package kernels

import "kvcompress/kernels/device"

// batch is the sequences of a decode step, in the order of admission, in the
// device's memory: arrays of n int32.
type batch struct {
	n         int
	longest   int        // tokens of the longest sequence, the step's included
	rows      device.Ptr // each sequence's row of tables and lengths
	ids       device.Ptr // its kv.SeqID, which its blocks' owners name
	positions device.Ptr // of the token that the step adds
	quantized device.Ptr // [n, 2] keys and values of each head that are quantized; 0 if the method does not quantize
	merged    device.Ptr // [n, 2] keys and values of each head that are merged; 0 if the method does not merge
	times     device.Ptr // the same, as attend_record takes it: see [Engine.times]
}
