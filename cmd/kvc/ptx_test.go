package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kvcompress/kernels/device"
	"kvcompress/npy"
)

// example is where the tests' kernels are found in an empty folder.
func example(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("testdata/ptx/example.ptx")
	if err != nil {
		t.Fatal(err)
	}
	script := documentedScript(t)
	t.Chdir(t.TempDir())
	write := func(file string, shape []int64, values any) {
		typ := map[bool]string{true: "<f4", false: "<u4"}[file != "zero.npy"]
		data, err := npy.AppendHeader(nil, npy.Header{Type: typ, Shape: shape})
		if err == nil {
			data, err = binary.Append(data, binary.LittleEndian, values)
		}
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ramp := make([]float32, 1024)
	for i := range ramp {
		ramp[i] = float32(i)
	}
	write("x.npy", []int64{1000}, ramp[:1000])
	write("rows.npy", []int64{4, 256}, ramp)
	turned := slices.Clone(ramp)
	slices.Reverse(turned)
	write("turned.npy", []int64{4, 256}, turned)
	write("zero.npy", []int64{1}, uint32(0))
	for file, data := range map[string]string{
		"example.ptx": string(text),
		"approx.ptx":  ".version 7.8\n.target sm_80\n.address_size 64\n.entry e() {\n.reg .f32 %f<3>;\nmov.f32 %f1, 0f3F800000;\nex2.approx.f32 %f2, %f1;\nret;\n}\n",
		"bad.ptx":     ".version 7.8\n.target sm_80\n.address_size 64\n.entry e() {\nfrobnicate.u32;\n}\n",
		"empty.ptx":   "",
		"text.npy":    "hello",
		"steps.txt":   script,
		"turn.txt":    "module example.ptx\nbuffer x in=rows.npy\nlaunch reverse grid=4 block=256 cooperative buf=x\nexpect x turned.npy\n",
		"wrong.txt":   "buffer x in=x.npy\nzero x\nexpect x x.npy\n",
		"past.txt":    "module example.ptx\nbuffer x in=x.npy\nlaunch saxpy_past grid=8 block=128 u32=1000 f32=1 buf=x buf=x\nsave x n.npy\n",
	} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// documentedScript returns the script of docs/ptx-run.md.
func documentedScript(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/ptx-run.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "<!-- steps.txt -->\n\n```\n")
	script, _, ended := strings.Cut(rest, "```\n")
	if !ok || !ended {
		t.Fatal("docs/ptx-run.md has no script")
	}
	return script
}

// TestPTXCommandLines runs whole command lines and checks the exit code and the output.
func TestPTXCommandLines(t *testing.T) {
	example(t)
	const saxpy = "ptx run example.ptx --entry saxpy --grid 8 --block 128 --arg u32=1000 --arg f32=2 --arg in=x.npy "
	const race = "ptx run example.ptx --entry block_sums_race --grid 4 --block 256 --arg in=rows.npy --arg out=f32[4]:n2.npy --checks races"
	const reverse = "ptx run example.ptx --entry reverse --grid 4 --block 256 "
	for _, c := range []struct {
		line           string
		code           int
		stdout, stderr string
	}{
		{"ptx", exitDone, "Available Commands", ""},
		{"ptx nope", exitUsage, "", "unknown command"},
		{"ptx check example.ptx", exitDone, "block_sums(u64, u64)\n", ""},
		{"ptx check example.ptx --json", exitDone, `"shared": 1024`, ""},
		{"ptx check approx.ptx", exitFailed, "", "approx.ptx:7: ex2"},
		{"ptx check approx.ptx --allow-approx", exitDone, "results may differ", ""},
		{"ptx check bad.ptx", exitFailed, "", "bad.ptx:5"},
		{"ptx check empty.ptx", exitFailed, "", "empty.ptx"},
		{"ptx check none.ptx", exitUsage, "", "none.ptx: no such file"},
		{"ptx check .", exitUsage, "", "not a regular file"},
		{"ptx check", exitUsage, "", "accepts 1 arg"},

		{saxpy + "--arg inout=x.npy:y.npy", exitDone, "y.npy       f32   [1000]  0    2997  0", ""},
		{saxpy + "--arg inout=x.npy:y.safetensors#y --shuffle 3 --checks all,-races", exitDone, "y.safetensors#y", ""},
		{saxpy + "--arg zeros=f32[1000]:y.npy --checks none", exitDone, "checks: none.", ""},
		{saxpy + "--arg out=f32[1000]:n.npy", exitFailed, "uninitialized memory", "uninitialized"},
		{saxpy + "--arg in=y.npy --arg u32=1", exitUsage, "", "5 arguments"},
		{saxpy + "--arg in=none.npy", exitUsage, "", "none.npy: no such file"},
		{saxpy + "--arg in=text.npy", exitUsage, "", "not a .npy file"},
		{saxpy + "--arg in", exitUsage, "", "want KIND=VALUE"},
		{saxpy + "--arg in=x.npz", exitUsage, "", "neither a .npy file"},
		{saxpy + "--device gpu", exitUsage, "", "want auto, ptx, cuda"},
		{saxpy + "--checks speed", exitUsage, "", `unknown check "speed"`},
		{"ptx run example.ptx --entry saxpy_past --grid 8 --block 128 --arg u32=1000 --arg f32=2 --arg in=x.npy --arg inout=x.npy:n.npy", exitFailed,
			`past the end of "argument 2: in=x.npy" (4000 bytes)`, "out of bounds"},
		{"ptx run example.ptx --entry block_sums --grid 4 --block 256 --arg in=rows.npy --arg out=f32[4]:sums.npy", exitDone,
			"sums.npy    f32   [4]    32640  229248  0", ""},
		{"ptx run example.ptx --entry block_sums_race --grid 4 --block 256 --arg in=rows.npy --arg out=f32[4]:n.npy --checks races", exitFailed,
			"race", "race"},
		{saxpy + "--arg zeros=f32[1000]:y.npy --expect y.npy=x.npy", exitFailed, "y.npy differs from x.npy in 999 of 1,000", "not as expected"},
		{saxpy + "--arg zeros=f32[1000]:y.npy --expect 2=x.npy", exitDone, "2 equals x.npy (1,000 elements)", ""},
		{saxpy + "--arg zeros=f32[1000]:y.npy --expect y.npy=x.npy --rtol 1", exitDone, "is near x.npy", ""},
		{saxpy + "--arg zeros=f32[1000]:y.npy --expect y.npy=none.npy", exitUsage, "", "none.npy: no such file"},
		{saxpy + "--arg zeros=f32[1000]:y.npy --expect y.npy", exitUsage, "", "want BUFFER=FILE"},
		{saxpy + "--arg zeros=f32[1000]:y.npy --rtol -1", exitUsage, "", "--rtol has no effect without --expect"},
		{saxpy + "--arg zeros=f32[1000]:y.npy --expect y.npy=y.npy --rtol -1", exitUsage, "", "want numbers of at least 0"},
		{saxpy + "--arg zeros=f32[1000]:y.npy --budget -1", exitUsage, "", "--budget \"-1\": want an integer from 1 to"},
		{saxpy + "--arg zeros=f32[1000]:y.npy --findings 0", exitUsage, "", "--findings \"0\": want an integer from 1 to"},
		{saxpy + "--arg f32=0", exitUsage, "", "it has 32 bits, and a .u64 has 64"},
		{saxpy + "--arg struct=frob", exitUsage, "", "want KIND=VALUE"},
		{race, exitFailed, "findings: ", "findings"},
		{race + " --findings 1", exitFailed, "race: bytes 64 to 67", "race"},
		{race + " --suppress race@example.cu:42", exitDone, "passed over, as --suppress says", ""},
		{"ptx run example.ptx --entry saxpy_past --grid 8 --block 128 --arg u32=1000 --arg f32=2 --arg in=x.npy --arg inout=x.npy:n.npy --suppress out-of-bounds@example.ptx:106", exitFailed,
			"Findings passed over, as --suppress says: 24.", "out of bounds"},
		{race + " --suppress races", exitUsage, "", "unknown kind of finding"},
		{race + " --json --suppress race@example.ptx:364", exitFailed, `"ptx_line": 375`, ""},
		{"ptx script steps.txt", exitDone, "line 5: y equals x.npy", ""},
		{"ptx script steps.txt --json", exitDone, `"agree": true`, ""},
		{"ptx script none.txt", exitUsage, "", "none.txt: no such file"},
		{"ptx script example.ptx", exitUsage, "", "example.ptx:"},
		{"ptx script wrong.txt", exitFailed, "line 3: x differs from x.npy", "not as expected"},
		{"ptx script past.txt", exitFailed, "2 findings: 2 out of bounds", "2 findings"},
		{"ptx script past.txt --findings 1", exitFailed, "out of bounds", "past.txt:3: launch saxpy_past: "},
		{"ptx run example.ptx --entry spin --grid 1 --block 32 --arg in=zero.npy --budget 1000", exitUsage, "", "endless loop"},
		{"ptx run example.ptx --entry spin --grid 2 --block 32 --arg in=zero.npy --budget 1000", exitUsage, "", "kvc ptx run --cooperative"},
		{reverse + "--cooperative --arg inout=rows.npy:back.npy --expect back.npy=turned.npy", exitDone, "back.npy equals turned.npy", ""},
		{reverse + "--cooperative --shuffle 5 --arg inout=rows.npy:back.npy --expect back.npy=turned.npy --json", exitDone, `"cooperative": true`, ""},
		{reverse + "--arg inout=rows.npy:n.npy", exitUsage, "", "the launch has to be cooperative"},
		{"ptx run example.ptx --entry reverse --grid 1057 --block 256 --cooperative --arg inout=rows.npy:n.npy", exitUsage, "", "at most 1056 of 256 threads"},
		{"ptx script turn.txt", exitDone, "line 4: x equals turned.npy", ""},
		{"ptx run example.ptx --entry nope --grid 1 --block 1", exitUsage, "", `"nope"`},
		{"ptx run example.ptx --entry saxpy --grid 1", exitUsage, "", "--block is needed"},
		{"ptx run example.ptx --entry saxpy --grid 0 --block 1", exitUsage, "", "each from 1 to 2147483647"},
		{"ptx run example.ptx --entry saxpy --grid 1,1,1,1 --block 1", exitUsage, "", "want X, X,Y or X,Y,Z"},
		{"ptx run example.ptx --entry saxpy --grid 1 --block 2048 --arg u32=0 --arg f32=0 --arg ptr=0 --arg ptr=0", exitUsage, "", "2048"},
		{"ptx run approx.ptx --entry e --grid 1 --block 1", exitUsage, "", "approx.ptx:7"},
		{"ptx run approx.ptx --entry e --grid 1 --block 1 --allow-approx", exitDone, "results may differ from hardware", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(strings.Fields(c.line), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("kvc %s: exit code %d, want %d\nstdout, with %q:\n%s\nstderr, with %q:\n%s", c.line, code, c.code, c.stdout, &stdout, c.stderr, &stderr)
		}
		if _, err := os.Stat("n.npy"); err == nil {
			t.Fatalf("kvc %s: it failed, and wrote a file", c.line)
		}
	}
}

// TestPTXRunJSON checks the names that scripts read.
func TestPTXRunJSON(t *testing.T) {
	example(t)
	for _, c := range []struct{ entry, want string }{
		{"block_sums", `"buffers":[{"arg":1,"file":"y.npy","max":229248,"min":32640,"nans":0,"shape":[4],"type":"f32"}]`},
		{"block_sums_race", `"kind":"race"`},
	} {
		var stdout, stderr bytes.Buffer
		run([]string{"ptx", "run", "example.ptx", "--entry", c.entry, "--grid", "4", "--block", "256", "--arg", "in=rows.npy", "--arg", "out=f32[4]:y.npy", "--json"}, &stdout, &stderr)
		var got map[string]any
		if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, &stderr)
		}
		for _, key := range []string{"file", "entry", "device", "grid", "block", "shared", "checks", "instructions", "seconds", "buffers"} {
			if got[key] == nil {
				t.Errorf("%s: there is no %s", c.entry, key)
			}
		}
		if text, _ := json.Marshal(got); !strings.Contains(string(text), c.want) {
			t.Errorf("%s: %s; want %s", c.entry, text, c.want)
		}
	}
}

// TestPTXRunPage runs the commands of docs/ptx-run.md and compares their output, except times,
// with the page.
func TestPTXRunPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/ptx-run.md")
	if err != nil {
		t.Fatal(err)
	}
	example(t)
	withoutTimes := func(text string) string {
		return regexp.MustCompile(`took .* for|, [0-9.e+]* million a second`).ReplaceAllString(strings.TrimSpace(text), "")
	}
	commands := 0
	for _, block := range strings.Split(string(page), "```\n") {
		line, ok := strings.CutPrefix(block, "$ kvc ")
		if !ok {
			continue
		}
		commands++
		line, want, _ := strings.Cut(line, "\n")
		var stdout, stderr bytes.Buffer
		run(strings.Fields(line), &stdout, &stderr)
		if got := withoutTimes(stdout.String()); got != withoutTimes(want) {
			t.Errorf("kvc %s prints\n%s\n%s\nand the page has\n%s", line, got, &stderr, want)
		}
	}
	if commands != 7 {
		t.Errorf("%d commands are on the page", commands)
	}
}

func TestDim(t *testing.T) {
	for _, c := range []struct {
		text, back string
		want       device.Dim
	}{
		{"7", "7", device.Dim{X: 7, Y: 1, Z: 1}},
		{"7,1", "7", device.Dim{X: 7, Y: 1, Z: 1}},
		{"0x10,2", "16,2", device.Dim{X: 16, Y: 2, Z: 1}},
		{"1,1,3", "1,1,3", device.Dim{X: 1, Y: 1, Z: 3}},
	} {
		var d dim
		if err := d.Set(c.text); err != nil || d.Dim != c.want || d.String() != c.back {
			t.Errorf("%s: %v, %q, %v", c.text, d.Dim, d.String(), err)
		}
	}
	for _, text := range []string{"", "0", "-1", "1,", "1,2,3,4", "x", "99999999999"} {
		if new(dim).Set(text) == nil {
			t.Errorf("%q can be set", text)
		}
	}
}
