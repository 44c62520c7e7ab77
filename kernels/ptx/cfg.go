package ptx

// reconverge finds the reconvergence point of every branch: its immediate post-dominator, the first
// instruction on every path from the branch to an end. A call counts as an ordinary instruction. A guarded
// exit, which only some lanes take, is not an end.
func reconverge(code []instr, left *int, errorf func(string, ...any) error) error {
	n := int32(len(code))
	end := n // an extra node after the code: the end of every thread
	successors := func(i int32, buf []int32) []int32 {
		in := &code[i]
		switch in.kind {
		case kindBranch:
			buf = append(buf, in.target)
			if in.guard >= 0 {
				buf = append(buf, i+1)
			}
		case kindBrx:
			buf = append(buf, in.table...)
			if in.guard >= 0 {
				buf = append(buf, i+1)
			}
		case kindRet, kindExit:
			if in.guard < 0 {
				return append(buf, end)
			}
			buf = append(buf, i+1)
		default:
			buf = append(buf, i+1)
		}
		return buf
	}

	// Post-order of the reversed graph, starting from the end, with an explicit stack.
	preds := make([][]int32, n+1)
	var buf []int32
	for i := range n {
		buf = successors(i, buf[:0])
		for _, s := range buf {
			preds[s] = append(preds[s], i)
		}
	}
	number := make([]int32, n+1) // post-order number; -1: the end is unreachable
	for i := range number {
		number[i] = -1
	}
	var order []int32
	type visit struct{ node, next int32 }
	stack := []visit{{end, 0}}
	number[end] = 0
	for len(stack) > 0 {
		v := &stack[len(stack)-1]
		if int(v.next) < len(preds[v.node]) {
			p := preds[v.node][v.next]
			v.next++
			if number[p] < 0 {
				number[p] = 0
				stack = append(stack, visit{p, 0})
			}
			continue
		}
		number[v.node] = int32(len(order))
		order = append(order, v.node)
		stack = stack[:len(stack)-1]
	}

	// Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm", 2001, on the
	// reversed graph.
	idom := make([]int32, n+1)
	for i := range idom {
		idom[i] = -1
	}
	idom[end] = end
	steps := 0
	defer func() { *left -= steps }()
	for changed := true; changed; {
		changed = false
		if steps > *left {
			return errorf("the control flow is too intricate: its post-dominators take more than %d steps", maxSteps)
		}
		for i := len(order) - 2; i >= 0; i-- {
			node := order[i]
			best := int32(-1)
			buf = successors(node, buf[:0])
			steps++
			for _, s := range buf {
				if idom[s] < 0 {
					continue
				}
				if best < 0 {
					best = s
					continue
				}
				for a, b := s, best; ; steps++ {
					switch {
					case number[a] < number[b]:
						a = idom[a]
					case number[b] < number[a]:
						b = idom[b]
					}
					if a == b || steps > *left {
						best = a
						break
					}
				}
			}
			if idom[node] != best {
				idom[node], changed = best, true
			}
		}
	}
	for i := range code {
		in := &code[i]
		if in.kind != kindBranch && in.kind != kindBrx {
			continue
		}
		in.rpc = -1
		if r := idom[i]; r >= 0 && r != end {
			in.rpc = r
		}
	}
	return nil
}

// maxSteps bounds the search for post-dominators in a module. For compiled code the search takes a few steps
// per instruction.
const maxSteps = 1 << 26

// leaveAtOnce lets lanes that branch to the end of a kernel exit there, instead of waiting for the other
// lanes to reconverge: a warp-wide instruction of all lanes means those that have not exited.
func leaveAtOnce(code []instr) {
	ends := func(i int32) bool {
		return (code[i].kind == kindRet || code[i].kind == kindExit) && code[i].guard < 0
	}
	for i := range code {
		in := &code[i]
		if (in.kind == kindBranch || in.kind == kindBrx) && in.rpc >= 0 && ends(in.rpc) {
			in.rpc = -1
		}
	}
}
