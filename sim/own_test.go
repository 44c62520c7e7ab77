package sim_test

import (
	"slices"
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
	"kvcompress/traces"
)

// byRequest is a bundled trace with other requests.
func byRequest(t *testing.T, requests []trace.Request) *trace.Trace {
	t.Helper()
	b, err := traces.Bundled("by-request")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := trace.New(b.Trace.Meta, requests)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func requestsWith(own ...*trace.Compression) []trace.Request {
	var requests []trace.Request
	for i, o := range own {
		requests = append(requests, trace.Request{ID: string(rune('a' + i)), PromptTokens: 90 + 10*i, OutputTokens: 30, Compression: o})
	}
	return requests
}

// TestOwnOptionsOnLedger replays requests with different options, by several methods, on the
// reference engine and a ledger together.
func TestOwnOptionsOnLedger(t *testing.T) {
	own := requestsWith(nil,
		&trace.Compression{MaxCacheTokens: new(40)},
		&trace.Compression{Rate: new(0.6)},
		&trace.Compression{MaxCacheTokens: new(64), CompressOnce: new(true)},
		&trace.Compression{Rate: new(1.0)})
	var moved [2]int
	for _, method := range []string{ref.KVCompress, "snapkv", "streaming-llm", "h2o-real-drop", "razor", "ada-snapkv"} {
		for _, tokens := range []int{0, 72} {
			opt := sim.DefaultOptions()
			opt.UseMethod(method)
			opt.Compression.MaxCacheTokens = tokens
			if method == "razor" {
				opt.Set = ref.Settings{}
				opt.Set.Set("full", "none")
			}
			tr, filled := byRequest(t, own), opt
			filled.Fill(tr.Meta, own)
			if filled.Validate() != nil && tokens == 0 {
				continue // a method that cannot do without a budget
			}
			r := replayBoth(t, tr, opt, &moved)
			if r.Totals.KVsEvicted == 0 && method != "razor" {
				t.Errorf("method %s, %d tokens: nothing was evicted", method, tokens)
			}
		}
	}
}

// TestOwnOptionsAreFollowed checks which requests are compressed, and how often.
func TestOwnOptionsAreFollowed(t *testing.T) {
	budget := func() *trace.Compression { return &trace.Compression{MaxCacheTokens: new(40)} }
	once := budget()
	once.CompressOnce = new(true)
	again := budget()
	again.CompressOnce = new(false)
	for _, c := range []struct {
		name     string
		schedule sim.Schedule
		tokens   int // of the run
		requests []trace.Request
		want     []string // of each request: "", "once" or "again"
	}{
		{"a budget in a run without one", sim.Schedule{Interval: 1}, 0, requestsWith(nil, budget()), []string{"", "again"}},
		{"none at all in a run with one", sim.Schedule{Interval: 1}, 40, requestsWith(nil, &trace.Compression{Rate: new(1.0)}), []string{"again", ""}},
		{"once beside again", sim.Schedule{Interval: 1}, 40, requestsWith(nil, once), []string{"again", "once"}},
		{"again beside once", sim.Schedule{Interval: 1, Once: true}, 40, requestsWith(nil, again), []string{"once", "again"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := sim.DefaultOptions()
			opt.Compression.MaxCacheTokens, opt.Compression.ProtectedWindow, opt.Schedule = c.tokens, 8, c.schedule
			r, err := sim.Replay(t.Context(), byRequest(t, c.requests), opt, sim.Hooks{})
			if err != nil {
				t.Fatal(err)
			}
			got := make([]string, len(c.requests))
			for _, s := range r.Steps {
				for _, z := range s.Compression {
					switch got[z.Seq] {
					case "":
						got[z.Seq] = "once"
					default:
						got[z.Seq] = "again"
					}
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("compressed %q, want %q", got, c.want)
			}
		})
	}
}

// TestOwnOptionsRefused checks the options that a request cannot have.
func TestOwnOptionsRefused(t *testing.T) {
	window := requestsWith(nil, &trace.Compression{ProtectedWindow: new(8)})
	t.Run("by a method", func(t *testing.T) {
		opt := sim.DefaultOptions()
		opt.UseMethod("snapkv")
		opt.Compression.MaxCacheTokens = 64
		_, err := sim.Replay(t.Context(), byRequest(t, window), opt, sim.Hooks{})
		const want = `sim: request "b": compression: protected_window and buffer are options of kv-compress`
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	})
	for name, prepare := range map[string]func(l *sim.Ledger, s *sim.Server) error{
		"chunked prefill": func(_ *sim.Ledger, s *sim.Server) error { return s.ChunkPrefills() },
		"prefix caching":  func(l *sim.Ledger, _ *sim.Server) error { return l.CachePrefixes(16) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := ref.Default()
			cfg.Shape, cfg.Blocks = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, 1000
			ledger, err := sim.NewLedger(&cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			server, err := sim.NewServer(ledger, &cfg, sim.Schedule{}, sim.DefaultLimits(), window, nil)
			if err == nil {
				err = prepare(ledger, server)
			}
			if err != nil {
				t.Fatal(err)
			}
			want := `request "b": compression options of a request and ` + name + ` exclude each other`
			if _, err := server.Step(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}
