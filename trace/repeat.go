package trace

// Repeat returns tensors in which every KV head of t occurs copies times in a row, as in code that repeats
// keys and values for each query head: K and V are [n, H·copies, D]. Q is that of t. headSize is D.
func Repeat(t Tensors, copies, headSize int) Tensors { return repeated{t, copies, headSize} }

type repeated struct {
	Tensors
	copies, headSize int
}

func (r repeated) Read(dst []float32, t Tensor, layer, from, n int) error {
	if t == Q {
		return r.Tensors.Read(dst, t, layer, from, n)
	}
	once := dst[:len(dst)/r.copies]
	if err := r.Tensors.Read(once, t, layer, from, n); err != nil {
		return err
	}
	// Backwards, so that no row is overwritten before it is copied.
	for i := len(once)/r.headSize - 1; i >= 0; i-- {
		for c := r.copies - 1; c >= 0; c-- {
			copy(dst[(i*r.copies+c)*r.headSize:][:r.headSize], once[i*r.headSize:])
		}
	}
	return nil
}
