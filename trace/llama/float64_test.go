package llama_test

import "math"

// runFloat64 is a straightforward reference implementation of a llama2.c model: all
// tokens at once, in float64, without a KV cache. It returns q [Layers, heads, head
// size], k and v of each token, and the logits of the last token.
func (c *checkpoint) runFloat64(tokens []int) (q, k, v [][]float64, logits []float64) {
	n := len(tokens)
	q, k, v = make([][]float64, n), make([][]float64, n), make([][]float64, n)
	x := make([][]float64, n)
	for i, token := range tokens {
		x[i] = widen(c.embed[token*c.dim:][:c.dim])
	}
	for l := range c.layers {
		wq := c.wq[l*c.dim*c.dim:][:c.dim*c.dim]
		wk := c.wk[l*c.kvDim()*c.dim:][:c.kvDim()*c.dim]
		wv := c.wv[l*c.kvDim()*c.dim:][:c.kvDim()*c.dim]
		wo := c.wo[l*c.dim*c.dim:][:c.dim*c.dim]
		lq, lk, lv := make([][]float64, n), make([][]float64, n), make([][]float64, n)
		for i := range x {
			h := c.rms(x[i], c.attnNorm[l*c.dim:][:c.dim])
			lq[i] = c.rope(times(wq, h), i)
			lk[i] = c.rope(times(wk, h), i)
			lv[i] = times(wv, h)
			q[i], k[i], v[i] = append(q[i], lq[i]...), append(k[i], lk[i]...), append(v[i], lv[i]...)
		}
		for i := range x {
			plus(x[i], times(wo, c.attend(lq[i], lk[:i+1], lv[:i+1])))
			h := c.rms(x[i], c.ffnNorm[l*c.dim:][:c.dim])
			gate := times(c.w1[l*c.hidden*c.dim:][:c.hidden*c.dim], h)
			up := times(c.w3[l*c.hidden*c.dim:][:c.hidden*c.dim], h)
			for j, g := range gate {
				gate[j] = g / (1 + math.Exp(-g)) * up[j]
			}
			plus(x[i], times(c.w2[l*c.dim*c.hidden:][:c.dim*c.hidden], gate))
		}
	}
	return q, k, v, times(c.embed, c.rms(x[n-1], c.norm))
}

func (c *checkpoint) attend(q []float64, k, v [][]float64) []float64 {
	size, group := c.headSize(), c.heads/c.kvHeads
	out := make([]float64, len(q))
	for head := range c.heads {
		kv := head / group * size
		weights := make([]float64, len(k))
		var sum float64
		for j := range k {
			var score float64
			for d := range size {
				score += q[head*size+d] * k[j][kv+d]
			}
			weights[j] = math.Exp(score / math.Sqrt(float64(size)))
			sum += weights[j]
		}
		for j, w := range weights {
			for d := range size {
				out[head*size+d] += w / sum * v[j][kv+d]
			}
		}
	}
	return out
}

func (c *checkpoint) rope(x []float64, position int) []float64 {
	size := c.headSize()
	for i := 0; i < len(x); i += 2 {
		angle := float64(position) / math.Pow(10000, float64(i%size)/float64(size))
		sin, cos := math.Sincos(angle)
		x[i], x[i+1] = x[i]*cos-x[i+1]*sin, x[i]*sin+x[i+1]*cos
	}
	return x
}

func (c *checkpoint) rms(x []float64, weight []float32) []float64 {
	var sum float64
	for _, v := range x {
		sum += v * v
	}
	scale := 1 / math.Sqrt(sum/float64(len(x))+1e-5)
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v * scale * float64(weight[i])
	}
	return out
}

// times returns w·x for a matrix w of len(x) columns.
func times(w []float32, x []float64) []float64 {
	out := make([]float64, len(w)/len(x))
	for r := range out {
		for i, v := range x {
			out[r] += float64(w[r*len(x)+i]) * v
		}
	}
	return out
}

func plus(x, y []float64) {
	for i := range x {
		x[i] += y[i]
	}
}

func widen(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}
