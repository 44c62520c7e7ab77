package stats

// timelineBuckets is the most buckets of a timeline. When they are full, pairs are joined.
const timelineBuckets = 512

// Timeline records a server's state over time in a bounded number of buckets of equal width. The
// width is the smallest power of two of microseconds that suffices. The zero value is empty.
type Timeline struct {
	origin  int64
	end     int64
	width   int64
	buckets []Bucket
}

// Bucket is a span of a timeline. Means are over the time that it covers.
type Bucket struct {
	Start       float64 `json:"start_s"` // on the serving clock
	End         float64 `json:"end_s"`
	Busy        float64 `json:"busy"` // fraction of the time spent in steps
	Running     Level   `json:"num_requests_running"`
	Waiting     Level   `json:"num_requests_waiting"`
	Batch       Level   `json:"batch_size"`
	Blocks      Level   `json:"kv_blocks"`
	Steps       int64   `json:"steps"` // steps that began in it
	Prompt      int64   `json:"prompt_tokens"`
	Generated   int64   `json:"generation_tokens"`
	Preemptions int64   `json:"num_preemptions"`
}

// Level is the mean and the maximum of a quantity over a span of time.
type Level struct {
	Mean float64 `json:"mean"`
	Max  int64   `json:"max"`
}

// add counts v for ns nanoseconds; Mean is their integral until the end.
func (l *Level) add(v, ns int64) {
	l.Mean += float64(float64(v) * float64(ns))
	l.Max = max(l.Max, v)
}

func (l *Level) merge(o Level) {
	l.Mean += o.Mean
	l.Max = max(l.Max, o.Max)
}

// Add enters one step. Steps come in the order of time.
func (t *Timeline) Add(s *Step) {
	if t.buckets == nil {
		t.origin, t.width = s.Start, 1<<10
		t.buckets = make([]Bucket, 0, timelineBuckets)
	}
	t.end = max(t.end, s.End)
	for (max(s.Start, s.End-1)-t.origin)/t.width >= timelineBuckets {
		t.double()
	}
	blocks := s.Blocks
	if s.MeanBlocks > 0 {
		blocks = s.MeanBlocks
	}
	first := int((s.Start - t.origin) / t.width)
	for at, i := s.Start, first; i == first || at < s.End; i++ {
		b := t.bucket(i)
		ns := min(s.End-at, t.width-(at-t.origin)%t.width)
		b.Busy += float64(ns)
		b.Running.add(s.Running, ns)
		b.Waiting.add(s.Waiting, ns)
		b.Batch.add(s.Batch, ns)
		b.Blocks.add(blocks, ns)
		b.Blocks.Max = max(b.Blocks.Max, s.Blocks)
		at += ns
	}
	b := t.bucket(first)
	b.Steps += s.Steps
	b.Prompt += s.Prompt
	b.Generated += s.Generated
	b.Preemptions += s.Preempted
}

func (t *Timeline) bucket(i int) *Bucket {
	for i >= len(t.buckets) {
		t.buckets = append(t.buckets, Bucket{})
	}
	return &t.buckets[i]
}

// double joins pairs of buckets, which doubles their width.
func (t *Timeline) double() {
	n := (len(t.buckets) + 1) / 2
	for i := range n {
		b := t.buckets[2*i]
		if 2*i+1 < len(t.buckets) {
			b.merge(&t.buckets[2*i+1])
		}
		t.buckets[i] = b
	}
	clear(t.buckets[n:])
	t.buckets = t.buckets[:n]
	t.width *= 2
}

func (b *Bucket) merge(o *Bucket) {
	b.Busy += o.Busy
	b.Running.merge(o.Running)
	b.Waiting.merge(o.Waiting)
	b.Batch.merge(o.Batch)
	b.Blocks.merge(o.Blocks)
	b.Steps += o.Steps
	b.Prompt += o.Prompt
	b.Generated += o.Generated
	b.Preemptions += o.Preemptions
}

// Buckets returns the timeline in at most n buckets; 0: as many as there are. Between steps all
// quantities are 0.
func (t *Timeline) Buckets(n int) []Bucket {
	c := Timeline{t.origin, t.end, t.width, append([]Bucket(nil), t.buckets...)}
	for n > 0 && len(c.buckets) > n {
		c.double()
	}
	for i := range c.buckets {
		b := &c.buckets[i]
		start := c.origin + int64(i)*c.width
		end := start + min(c.width, c.end-start)
		ns := float64(max(1, end-start))
		b.Start, b.End = seconds(start), seconds(end)
		b.Busy /= ns
		for _, l := range []*Level{&b.Running, &b.Waiting, &b.Batch, &b.Blocks} {
			l.Mean /= ns
		}
	}
	return c.buckets
}
