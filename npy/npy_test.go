package npy

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// file returns a file of format version 1 with the given header text.
func file(text string) string {
	return "\x93NUMPY\x01\x00" + string([]byte{byte(len(text)), byte(len(text) >> 8)}) + text
}

func TestReadHeader(t *testing.T) {
	const dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n"
	for _, c := range []struct {
		name, file string
		want       Header
		err        string
	}{
		{"two dimensions", file(dict) + "data", Header{"<f4", []int64{3, 4}}, ""},
		{"version 2", "\x93NUMPY\x02\x00" + string([]byte{byte(len(dict)), 0, 0, 0}) + dict + "data", Header{"<f4", []int64{3, 4}}, ""},
		{"one dimension", file(`{"shape": (7,), "fortran_order": True, "descr": "|u1"}`) + "data", Header{"|u1", []int64{7}}, ""},
		{"scalar", file("{'descr': '<i8', 'fortran_order': False, 'shape': ()}") + "data", Header{"<i8", []int64{}}, ""},
		{"Python 2", file("{'descr': '<i8', 'fortran_order': False, 'shape': (2L, 1L)}") + "data", Header{"<i8", []int64{2, 1}}, ""},
		{"empty", "", Header{}, "not a .npy file"},
		{"zip", "PK\x03\x04 an .npz", Header{}, "not a .npy file"},
		{"version 4", "\x93NUMPY\x04\x00\x00\x00", Header{}, "version 4.0"},
		{"no length", "\x93NUMPY\x01\x00\x00", Header{}, "ends in its header"},
		{"truncated", file(dict)[:30], Header{}, "ends in its header"},
		{"huge", "\x93NUMPY\x02\x00\xff\xff\xff\xff", Header{}, "more than 65536"},
		{"records", file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}"), Header{}, "records"},
		{"Fortran", file("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4)}"), Header{}, "ascontiguousarray"},
		{"no shape", file("{'descr': '<f4', 'fortran_order': True}"), Header{}, "no shape"},
		{"twice", file("{'descr': '<f4', 'descr': '<f4'}"), Header{}, "descr twice"},
		{"another key", file("{'x': 1}"), Header{}, `has a "x"`},
		{"negative", file("{'shape': (-1,)}"), Header{}, "63 bits"},
		{"too big", file("{'shape': (99999999999999999999,)}"), Header{}, "63 bits"},
		{"dimensions", file("{'shape': (" + strings.Repeat("1,", 65) + ")}"), Header{}, "more than 64"},
		{"open string", file("{'descr"), Header{}, "does not end"},
		{"open dictionary", file("{'shape': (1,)"), Header{}, "no comma"},
		{"code", file("__import__('os')"), Header{}, "not a dictionary"},
		{"more", file(dict + "x"), Header{}, "after the dictionary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := strings.NewReader(c.file)
			got, err := ReadHeader(r)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "data" {
				t.Errorf("%q is left", rest)
			}
		})
	}
}

// TestAppendHeader compares with what NumPy 1.24 writes.
func TestAppendHeader(t *testing.T) {
	for _, c := range []struct {
		h    Header
		want string
	}{
		{Header{"<f4", []int64{3, 4}}, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"},
		{Header{"|u1", []int64{7}}, "{'descr': '|u1', 'fortran_order': False, 'shape': (7,), }"},
		{Header{"<i8", nil}, "{'descr': '<i8', 'fortran_order': False, 'shape': (), }"},
	} {
		got, err := AppendHeader(nil, c.h)
		if err != nil {
			t.Fatal(err)
		}
		if want := file(c.want + strings.Repeat(" ", 117-len(c.want)) + "\n"); string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, h := range []Header{{"<f4", []int64{-1}}, {"'", nil}, {"<f4", make([]int64, 65)}} {
		if _, err := AppendHeader(nil, h); err == nil {
			t.Errorf("%v has a header", h)
		}
	}
}

func TestCount(t *testing.T) {
	for _, c := range []struct {
		shape []int64
		want  int64
		ok    bool
	}{
		{nil, 1, true},
		{[]int64{3, 0, 5}, 0, true},
		{[]int64{3, 4, 5}, 60, true},
		{[]int64{1 << 31, 1 << 31}, 1 << 62, true},
		{[]int64{1 << 32, 1 << 31}, 0, false},
		{[]int64{1 << 62, 1 << 62, 0}, 0, true},
		{[]int64{-1}, 0, false},
	} {
		if got, ok := (Header{Shape: c.shape}).Count(); got != c.want || ok != c.ok {
			t.Errorf("%v: %d, %t; want %d, %t", c.shape, got, ok, c.want, c.ok)
		}
	}
}

// FuzzReadHeader: a header that can be read can be written, and is read back unchanged.
func FuzzReadHeader(f *testing.F) {
	f.Add([]byte(file("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n")))
	f.Add([]byte(file(`{"shape": (7,), "fortran_order": True, "descr": "|u1"}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ReadHeader(bytes.NewReader(data))
		if err != nil || strings.Contains(h.Type, "'") {
			return
		}
		written, err := AppendHeader(nil, h)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ReadHeader(bytes.NewReader(written))
		if err != nil || again.Type != h.Type || !slices.Equal(again.Shape, h.Shape) {
			t.Fatalf("%v became %v, %v", h, again, err)
		}
	})
}
