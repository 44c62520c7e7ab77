package cxx

import (
	"strings"
	"testing"
)

func TestVariable(t *testing.T) {
	for name, want := range map[string]string{
		"_ZZL4passILi33EEvPjE4full": "full", "_ZZ6kernelE3a1b": "a1b", "_ZL5table": "table", "_ZN2ns5inner3tabE": "tab",
		"_ZZ6kernelPfE4tile_0": "tile", "tile": "tile", "": "", "_Z": "_Z", "_ZZ6kernel": "_ZZ6kernel",
		"_Z" + strings.Repeat("N", 5000): "_Z" + strings.Repeat("N", 5000),
	} {
		if got := Variable(name); got != want {
			t.Errorf("%.40q: %.40q, want %.40q", name, got, want)
		}
	}
}
