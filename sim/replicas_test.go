package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/trace"
)

// prefill10 takes 10 ns for a prefill, and 1 ns to decode a token of a sequence.
func prefill10() *Plan {
	return &Plan{
		Config: twoHeads(100), Limits: DefaultLimits(), Check: true,
		Rates: rates(map[Feature]float64{PrefillSteps: 10, DecodeSeqs: 1}),
	}
}

// asks are requests with prompts of 4 tokens: arrival and number of output tokens.
func asks(list ...[2]int) []trace.Request {
	var reqs []trace.Request
	for i, a := range list {
		reqs = append(reqs, trace.Request{ID: fmt.Sprint(i), ArrivalNS: int64(a[0]), PromptTokens: 4, OutputTokens: a[1]})
	}
	return reqs
}

// onReplicas returns for each request its replica and the times of its arrival, first token
// and end.
func onReplicas(t *testing.T, p *Plan, n int, router Router, reqs []trace.Request) map[string][4]int64 {
	t.Helper()
	got := map[string][4]int64{}
	sum, err := projectCluster(t.Context(), p, n, router, each(reqs), func(replica int) Watch {
		return Watch{Result: func(r *Result) { got[r.ID] = [4]int64{int64(replica), r.Arrival, r.FirstToken, r.Finished} }}
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Finished != len(reqs) {
		t.Errorf("%d of %d requests finish", sum.Finished, len(reqs))
	}
	return got
}

// TestReplicas compares requests on two servers with times worked out by hand.
func TestReplicas(t *testing.T) {
	for _, c := range []struct {
		name    string
		router  Router
		clients int
		reqs    []trace.Request
		want    map[string][4]int64
	}{
		// 0: prefill 0–10, decodes 11 and 12, waits for the prefill of 2 until 22, decodes 23, 24.
		// 1: 0–10. 3: 12–22, and 23.
		{"in turn", RoundRobin, 0, asks([2]int{0, 5}, [2]int{0, 1}, [2]int{12, 1}, [2]int{12, 2}),
			map[string][4]int64{"0": {0, 0, 10, 24}, "1": {1, 0, 10, 10}, "2": {0, 12, 22, 22}, "3": {1, 12, 22, 23}}},
		// At 12 the first has one request and the second none: 2 goes to the second. Then both
		// have one, and 3 goes to the first: its prefill ends at 22, and both decode until 24.
		{"fewest", LeastOutstanding, 0, asks([2]int{0, 5}, [2]int{0, 1}, [2]int{12, 1}, [2]int{12, 2}),
			map[string][4]int64{"0": {0, 0, 10, 25}, "1": {1, 0, 10, 10}, "2": {1, 12, 22, 22}, "3": {0, 12, 22, 24}}},
		// 1 ends when 2 arrives: the second has none.
		{"an end first", LeastOutstanding, 0, asks([2]int{0, 9}, [2]int{0, 1}, [2]int{10, 1}),
			map[string][4]int64{"0": {0, 0, 10, 18}, "1": {1, 0, 10, 10}, "2": {1, 10, 20, 20}}},
		// 1 ends during a step of the first server, and 2 arrives then: at 15, while the prefill of 0 runs.
		{"while a step runs", LeastOutstanding, 0, asks([2]int{5, 1}, [2]int{5, 1}, [2]int{14, 1}, [2]int{15, 1}),
			map[string][4]int64{"0": {0, 5, 15, 15}, "1": {1, 5, 15, 15}, "2": {0, 14, 25, 25}, "3": {1, 15, 25, 25}}},
		// Two clients: 2 is sent when 0 ends, at 10, and 3 when 1 does, at 12.
		{"a closed loop", LeastOutstanding, 2, asks([2]int{0, 1}, [2]int{7, 3}, [2]int{8, 1}, [2]int{9, 1}),
			map[string][4]int64{"0": {0, 0, 10, 10}, "1": {1, 0, 10, 12}, "2": {0, 10, 20, 20}, "3": {1, 12, 22, 22}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := prefill10()
			p.Concurrency = c.clients
			if got := onReplicas(t, p, 2, c.router, c.reqs); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

// TestSessionAffinity: a request goes to the replica that has its session, or else the longest prefix of at
// least half of its hashes; others go to the replica with the fewest requests. All arrive during the first
// prefills, so that none ends between them.
func TestSessionAffinity(t *testing.T) {
	type ask struct {
		session string
		hashes  []uint64
		replica int64 // wanted
	}
	for name, asked := range map[string][]ask{
		"sessions":          {{"a", nil, 0}, {"b", nil, 1}, {"b", nil, 1}, {"b", nil, 1}, {"", nil, 0}, {"a", nil, 0}, {"c", nil, 0}},
		"prefixes":          {{"", []uint64{1, 2, 3, 4}, 0}, {"", []uint64{1, 2, 3, 5, 6}, 0}, {"", []uint64{1, 2, 7, 8}, 0}, {"", []uint64{1, 9, 10}, 1}, {"", []uint64{1, 9, 11}, 1}},
		"the longest":       {{"a", nil, 0}, {"b", []uint64{1, 2, 3}, 1}, {"a", []uint64{1, 2}, 0}, {"", []uint64{1, 2, 3, 4}, 1}, {"a", []uint64{1, 2}, 0}, {"", []uint64{1, 2, 9}, 0}},
		"all of a prefix":   {{"", []uint64{1, 2}, 0}, {"", []uint64{3}, 1}, {"", []uint64{1, 2, 3}, 0}, {"", []uint64{3, 2}, 1}, {"", []uint64{2}, 0}, {"", []uint64{4, 2}, 1}},
		"a session first":   {{"a", []uint64{1, 2}, 0}, {"b", []uint64{3, 4}, 1}, {"b", []uint64{1, 2}, 1}, {"", []uint64{1, 2}, 1}},
		"a session's start": {{"a", []uint64{1, 2}, 0}, {"a", []uint64{1, 2}, 0}, {"b", []uint64{1, 2, 3}, 0}},
		"neither":           {{"", nil, 0}, {"", nil, 1}, {"", nil, 0}},
	} {
		var reqs []trace.Request
		for i, a := range asked {
			reqs = append(reqs, trace.Request{ID: fmt.Sprint(i), ArrivalNS: int64(i), PromptTokens: 20, OutputTokens: 1, Session: a.session, PrefixHashes: a.hashes})
		}
		p := prefill10()
		p.Config = twoHeads(1000)
		got := onReplicas(t, p, 2, SessionAffinity, reqs)
		for i, a := range asked {
			if to := got[fmt.Sprint(i)][0]; to != a.replica {
				t.Errorf("%s: request %d is sent to %d, want %d", name, i, to, a.replica)
			}
		}
	}
}

// TestRecent compares the replicas of random keys with all keys in the order in which they were sent last.
func TestRecent(t *testing.T) {
	const least = 8
	replicas := make([]replica, 5)
	rng := rand.New(rand.NewPCG(1, 1))
	m := newRecent[int](least)
	var order []int // the latest last
	last := map[int]*replica{}
	for range 2000 {
		key, to := rng.IntN(20), &replicas[rng.IntN(5)]
		m.set(key, to)
		last[key] = to
		order = append(slices.DeleteFunc(order, func(k int) bool { return k == key }), key)
		for i, key := range order {
			switch got, late := m.of(key), len(order)-i; {
			case got != last[key] && (got != nil || late <= least):
				t.Fatalf("key %d, the %dth latest, is of the wrong replica", key, late)
			case got != nil && late > 2*least:
				t.Fatalf("key %d, the %dth latest, is remembered", key, late)
			}
		}
	}
}

// TestTurns serves a session of two turns, recorded at 0 and 5 ns, and another request at 7.
// The first turn is prefilled until 10, the other request until 20, and the first turn's two
// tokens are decoded until 22. As recorded, the second turn is prefilled with the other request.
func TestTurns(t *testing.T) {
	reqs := asks([2]int{0, 3}, [2]int{5, 1}, [2]int{7, 1})
	reqs[0].Session, reqs[1].Session = "a", "a"
	for rule, want := range map[Turns][4]int64{
		TurnsAsRecorded: {0, 5, 20, 20},
		TurnsWait:       {0, 22, 32, 32},
		TurnsThink:      {0, 27, 37, 37},
	} {
		p := prefill10()
		p.Turns = rule
		got := onReplicas(t, p, 1, RoundRobin, reqs)
		if got["1"] != want || got["0"] != [4]int64{0, 0, 10, 22} || got["2"] != [4]int64{0, 7, 20, 20} {
			t.Errorf("%s: the turns are %v and %v, the other request %v", rule, got["0"], got["1"], got["2"])
		}
	}
	// One client sends the second turn when the first has ended, before the other request, or
	// thinks for 5 ns.
	for rule, want := range map[Turns][2]int64{TurnsWait: {12, 22}, TurnsThink: {22, 12}} {
		p := prefill10()
		p.Turns, p.Concurrency = rule, 1
		got := onReplicas(t, p, 1, RoundRobin, reqs)
		if got["1"][1] != want[0] || got["2"][1] != want[1] {
			t.Errorf("%s, one client: the second turn is sent at %d and the other request at %d, want %v", rule, got["1"][1], got["2"][1], want)
		}
	}
}

// TestRefusedClients compares clients of refused requests with times worked out by hand. Requests that ask for 100
// tokens are refused.
func TestRefusedClients(t *testing.T) {
	for _, c := range []struct {
		name     string
		clients  int
		turns    Turns
		sessions string // of each request; - for none
		replicas int
		reqs     []trace.Request
		want     map[string][4]int64
	}{
		// 1 is refused at 0, when the prefill of 0 begins, and 2 is sent then. It is prefilled 10–20, 3 20–30.
		{"at once", 2, TurnsAsRecorded, "----", 1, asks([2]int{0, 3}, [2]int{0, 100}, [2]int{0, 1}, [2]int{0, 1}),
			map[string][4]int64{"0": {0, 0, 10, 32}, "1": {0, 0, -1, -1}, "2": {0, 0, 20, 20}, "3": {0, 20, 30, 30}}},
		// 0, 1 and 2 are refused at 0, and the prefill of 3 begins. The next turns are ready at 3, 5 and 7. The
		// client of 2 sends the first at 3, that of 3 the second at 10, and another the third when these end.
		{"after thinking", 2, TurnsThink, "abc-abc", 1, asks([2]int{0, 100}, [2]int{0, 100}, [2]int{0, 100}, [2]int{0, 1}, [2]int{3, 1}, [2]int{5, 1}, [2]int{7, 1}),
			map[string][4]int64{"0": {0, 0, -1, -1}, "1": {0, 0, -1, -1}, "2": {0, 0, -1, -1}, "3": {0, 0, 10, 10}, "4": {0, 3, 20, 20}, "5": {0, 10, 20, 20}, "6": {0, 20, 30, 30}}},
		// The first replica gets 0 and 2, the second 1, which it refuses, and 3. So 4 is sent to the second at 0.
		{"fewest", 4, TurnsAsRecorded, "-----", 2, asks([2]int{0, 1}, [2]int{0, 100}, [2]int{0, 1}, [2]int{0, 1}, [2]int{0, 1}),
			map[string][4]int64{"0": {0, 0, 10, 10}, "1": {1, 0, -1, -1}, "2": {0, 0, 10, 10}, "3": {1, 0, 10, 10}, "4": {1, 0, 20, 20}}},
	} {
		p := prefill10()
		p.Limits.MaxModelLen = 50
		p.Concurrency, p.Turns = c.clients, c.turns
		for i, session := range c.sessions {
			if session != '-' {
				c.reqs[i].Session = string(session)
			}
		}
		watch := func(got map[string][4]int64) func(int) Watch {
			return func(replica int) Watch {
				return Watch{Result: func(r *Result) { got[r.ID] = [4]int64{int64(replica), r.Arrival, r.FirstToken, r.Finished} }}
			}
		}
		got := map[string][4]int64{}
		if _, err := projectCluster(t.Context(), p, c.replicas, LeastOutstanding, each(c.reqs), watch(got)); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s, replicas: %v\ngot  %v\nwant %v", c.name, err, got, c.want)
		}
		if c.replicas > 1 {
			continue
		}
		clear(got)
		if _, err := Project(t.Context(), p, each(c.reqs), watch(got)(0)); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s, a server: %v\ngot  %v\nwant %v", c.name, err, got, c.want)
		}
	}
}

// replicatedPlan is a small plan, and requests, some of them of sessions.
func replicatedPlan(seed uint64) (*Plan, []trace.Request) {
	cfg, schedule, limits, reqs, rates := randomServing(seed)
	rng := rand.New(rand.NewPCG(seed, 8))
	p := &Plan{Config: *cfg, Schedule: schedule, Limits: limits, Rates: *rates, Check: true}
	if rng.IntN(3) == 0 {
		p.Scheduler, p.V1 = VLLMV1, V1{ReserveFull: rng.IntN(2) == 0}
	}
	p.Turns = AllTurns()[rng.IntN(3)]
	if rng.IntN(3) == 0 {
		p.Concurrency = 1 + rng.IntN(6)
	}
	for i := range reqs {
		reqs[i].Session = []string{"", "a", "b", "c"}[rng.IntN(4)]
	}
	return p, reqs
}

// clusterResults returns the results of the requests on each replica, skipping steps or not.
func clusterResults(t *testing.T, p *Plan, n int, router Router, reqs iter.Seq2[trace.Request, error], skip bool) (map[string][2]any, string) {
	t.Helper()
	got := map[string][2]any{}
	_, err := projectCluster(t.Context(), p, n, router, reqs, func(replica int) Watch {
		w := Watch{Result: func(r *Result) { got[r.ID] = [2]any{replica, *r} }}
		if !skip {
			w.Step = func(*Step) {}
		}
		return w
	})
	return got, fmt.Sprint(err)
}

// sameResults compares the results of two runs.
func sameResults(t *testing.T, what string, a, b map[string][2]any, errA, errB string) {
	t.Helper()
	if errA != errB {
		t.Fatalf("%s: %s, %s", what, errA, errB)
	}
	for id := range a {
		if a[id] != b[id] {
			t.Fatalf("%s: request %s: %v, %v", what, id, a[id], b[id])
		}
	}
	if len(a) != len(b) {
		t.Fatalf("%s: %d and %d requests", what, len(a), len(b))
	}
}

// TestThinkingClients compares skipping with stepping where clients of a closed loop think: one that becomes free while
// others decode, as by a refusal, may send a turn that is ready later.
func TestThinkingClients(t *testing.T) {
	seeds := testsize.Of(400, 4000, 8000)
	for seed := range uint64(seeds) {
		p, reqs := replicatedPlan(seed)
		if p.Concurrency == 0 || p.Turns != TurnsThink {
			continue
		}
		run := func(step func(*Step)) (map[string][2]any, string) {
			got := map[string][2]any{}
			_, err := Project(t.Context(), p, each(reqs), Watch{Step: step, Result: func(r *Result) { got[r.ID] = [2]any{0, *r} }})
			return got, fmt.Sprint(err)
		}
		a, errA := run(nil)
		b, errB := run(func(*Step) {})
		sameResults(t, fmt.Sprintf("seed %d: skipping and stepping", seed), a, b, errA, errB)
	}
}

// TestReplicasPlain compares replicas with simpler computations of the same: steps taken one by
// one; one replica with a server; and replicas in turn with servers of a part of the requests each.
func TestReplicasPlain(t *testing.T) {
	// With these seeds a client of a closed loop sends another request when one is refused, and another client
	// sends one before that step ends.
	for _, seed := range []uint64{1676, 2395, 5949, 6369, 10107} {
		replicasPlain(t, seed)
	}
	// With these vLLM V1 compresses its only sequence, preempts it and refuses it, and then has nothing to run.
	for _, seed := range []uint64{1737, 2378} {
		replicasPlain(t, seed)
	}
	for seed := range uint64(testsize.Of(20, 60, 1000)) {
		replicasPlain(t, seed)
	}
}

func replicasPlain(t *testing.T, seed uint64) {
	t.Helper()
	p, reqs := replicatedPlan(seed)
	n := 1 + int(seed%4)
	for _, router := range Routers() {
		a, errA := clusterResults(t, p, n, router, each(reqs), true)
		b, errB := clusterResults(t, p, n, router, each(reqs), false)
		sameResults(t, fmt.Sprintf("seed %d, %d replicas, %s: skipping and stepping", seed, n, router), a, b, errA, errB)
	}
	alone := map[string][2]any{}
	one := func(p *Plan, replica int, reqs []trace.Request) string {
		_, err := Project(t.Context(), p, each(reqs), Watch{Result: func(r *Result) {
			of := *r
			of.Replica = replica
			alone[r.ID] = [2]any{replica, of}
		}})
		return fmt.Sprint(err)
	}
	err := one(p, 0, reqs)
	got, clusterErr := clusterResults(t, p, 1, LeastOutstanding, each(reqs), true)
	sameResults(t, fmt.Sprintf("seed %d: one replica and a server", seed), got, alone, clusterErr, err)
	sameSteps(t, seed, p, reqs)
	if p.Concurrency > 0 || p.Turns != TurnsAsRecorded {
		return
	}
	clear(alone)
	for replica := range n {
		var part []trace.Request
		for i := replica; i < len(reqs); i += n {
			part = append(part, reqs[i])
		}
		one(p, replica, part)
	}
	got, _ = clusterResults(t, p, n, RoundRobin, each(reqs), true)
	sameResults(t, fmt.Sprintf("seed %d: %d replicas in turn and servers", seed, n), got, alone, "", "")
}

// sameSteps compares the steps of one replica with those of a server. A server that has nothing to run after
// refusals or preemptions reports them with its next step, and a replica does not.
func sameSteps(t *testing.T, seed uint64, p *Plan, reqs []trace.Request) {
	t.Helper()
	var want []Step
	i := 0
	step := func(s *Step) Step {
		c := *s
		c.Refused, c.Preempted, c.Server = nil, nil, KVCompressStep{}
		return c
	}
	Project(t.Context(), p, each(reqs), Watch{Step: func(s *Step) {
		c := step(s)
		c.Batch, c.Scheduled = slices.Clone(c.Batch), slices.Clone(c.Scheduled)
		c.Compression, c.Finished = slices.Clone(c.Compression), slices.Clone(c.Finished)
		want = append(want, c)
	}})
	projectCluster(t.Context(), p, 1, LeastOutstanding, each(reqs), func(int) Watch {
		return Watch{Step: func(s *Step) {
			if got := step(s); i == len(want) || !reflect.DeepEqual(got, want[i]) {
				t.Fatalf("seed %d: one replica and a server: %+v, %+v", seed, got, want[i:min(i+1, len(want))])
			}
			i++
		}}
	})
	if i != len(want) {
		t.Fatalf("seed %d: one replica runs %d steps, and a server %d", seed, i, len(want))
	}
}

// TestReplicasErrors checks plans that cannot be served.
func TestReplicasErrors(t *testing.T) {
	quiet := func(int) Watch { return Watch{} }
	reqs := each(asks([2]int{0, 1}, [2]int{0, 1}))
	for _, c := range []struct {
		n      int
		router Router
		change func(*Plan)
		want   string
	}{
		{0, RoundRobin, nil, "0 replicas: want 1"},
		{MaxReplicas + 1, RoundRobin, nil, "want 1 to"},
		{2, "by-magic", nil, `there is no router "by-magic"`},
		{2, RoundRobin, func(p *Plan) { p.Concurrency = -1 }, "concurrency -1"},
		{2, RoundRobin, func(p *Plan) { p.Turns = "never" }, `there is no rule "never"`},
		{2, RoundRobin, func(p *Plan) { p.Config.Blocks = -1 }, "block"},
	} {
		p := prefill10()
		if c.change != nil {
			c.change(p)
		}
		if _, err := ProjectReplicas(t.Context(), p, c.n, c.router, reqs, quiet); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d replicas, %s: %v, want %q", c.n, c.router, err, c.want)
		}
	}
	broken := errors.New("broken")
	bad := func(yield func(trace.Request, error) bool) {
		_ = yield(trace.Request{PromptTokens: 4, OutputTokens: 1}, nil) && yield(trace.Request{}, broken)
	}
	if _, err := ProjectReplicas(t.Context(), prefill10(), 2, RoundRobin, bad, quiet); !errors.Is(err, broken) {
		t.Errorf("requests that cannot be read: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := ProjectReplicas(stopped, prefill10(), 2, RoundRobin, reqs, quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// BenchmarkReplicas serves 10,000 requests on replicas.
func BenchmarkReplicas(b *testing.B) {
	p := prefill10()
	p.Config, p.Check = twoHeads(20_000), false
	reqs := make([]trace.Request, 10_000)
	for i := range reqs {
		reqs[i] = trace.Request{ArrivalNS: int64(i) * 20, PromptTokens: 512, OutputTokens: 128}
	}
	for _, n := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := ProjectReplicas(context.Background(), p, n, LeastOutstanding, each(reqs), func(int) Watch { return Watch{} }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
