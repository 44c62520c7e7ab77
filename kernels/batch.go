package kernels

import "kvcompress/kernels/device"

// batch has the sequences of a decode step, in order of admission, as arrays of n int32 on the device.
type batch struct {
	n         int
	longest   int        // tokens of the longest sequence, including the step's
	rows      device.Ptr // each sequence's row in the tables and lengths
	ids       device.Ptr // its kv.SeqID, for the owners of its blocks
	positions device.Ptr // position of the token that the step adds
	quantized device.Ptr // [n, 2] how many keys, and values, of each head are quantized; 0 if the method does not quantize
	merged    device.Ptr // [n, 2] how many keys, and values, of each head are merged; 0 if the method does not merge
	times     device.Ptr // positions as attend_record takes them: see [Engine.times]
}
