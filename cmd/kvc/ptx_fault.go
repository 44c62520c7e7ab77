package main

import "kvcompress/kernels/ptx"

// ptxFault is a checker's report in JSON.
type ptxFault struct {
	Kind   string     `json:"kind"`
	Detail string     `json:"detail"`
	By     ptxAccess  `json:"by"`
	Other  *ptxAccess `json:"other,omitempty"` // the earlier access of a race

	Space      string  `json:"space,omitempty"`
	Address    *uint64 `json:"address,omitempty"` // nil if the fault is not a memory access
	Size       int     `json:"size,omitempty"`
	Allocation string  `json:"allocation,omitempty"`
	Extent     *int64  `json:"extent,omitempty"` // bytes of the allocation, or of the block's memory; nil where there is none
	Offset     *int64  `json:"offset,omitempty"` // of the address in it; negative before its start
}

// ptxAccess is one thread's execution of an instruction.
type ptxAccess struct {
	Block   [3]int `json:"block"`
	Thread  [3]int `json:"thread"`
	Op      string `json:"op"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	PTXLine int    `json:"ptx_line,omitempty"`
}

func newPTXFault(r *ptx.Report) *ptxFault {
	access := func(a *ptx.Access) ptxAccess {
		return ptxAccess{Block: a.Block, Thread: a.Thread, Op: a.Op, File: a.File, Line: a.Line, PTXLine: a.PTXLine}
	}
	f := &ptxFault{
		Kind: r.Kind.String(), Detail: r.Detail, By: access(&r.Access),
		Space: r.Space, Size: r.Size, Allocation: r.Allocation,
	}
	if r.Space != "" || r.Allocation != "" || r.Kind == ptx.BadFree {
		f.Address = &r.Address
	}
	if r.Allocation != "" || r.Extent > 0 {
		f.Extent, f.Offset = &r.Extent, &r.Offset
	}
	if r.Other != nil {
		other := access(r.Other)
		f.Other = &other
	}
	return f
}
