package trace

import (
	"errors"
	"fmt"
	"io/fs"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// readMeta reads trace.json and finds every error in it.
func readMeta(fsys fs.FS) metaFound {
	text, err := regular.Read(fsys, metaFile, MaxMetaBytes)
	if err != nil {
		return metaFound{errs: []error{err}}
	}
	return parseMeta(text)
}

// metaFound is what could be read of trace.json; if there are errors, its flags say which parts are right.
type metaFound struct {
	Meta
	shapeOK, dtypeOK, kindOK bool
	requestsOnly             bool // trace.json has no shape and no dtype, and may
	errs                     []error
}

func parseMeta(text []byte) metaFound {
	// The version comes first: a later one may have fields unknown here, and "unknown field" would be
	// misleading.
	raw := make(map[string][]byte)
	if err := strictjson.Object(text, func(name string, value []byte) error {
		raw[name] = value
		return nil
	}); err != nil && len(raw) == 0 {
		return metaFound{errs: []error{err}}
	}
	version := FormatVersion
	if err := strictjson.Unmarshal(raw["format_version"], &version); err == nil && version != FormatVersion {
		m := Meta{FormatVersion: version}
		return metaFound{Meta: m, errs: m.problems()}
	}
	var m metaFound
	wrong := strictjson.Errors(text, &m.Meta)
	for _, err := range wrong {
		m.errs = append(m.errs, err)
	}
	broken := func(path string) bool {
		for _, e := range wrong {
			if e.Within(path) {
				return true
			}
		}
		return false
	}
	isObject := func(name string) bool { return raw[name] != nil && raw[name][0] == '{' }
	m.kindOK = isObject("source") && !broken("source.kind")
	m.requestsOnly = raw["shape"] == nil && raw["dtype"] == nil && m.kindOK && mayLackTensors(m.Source.Kind)
	for _, name := range []string{"format_version", "shape", "dtype", "source"} {
		if raw[name] == nil && !(m.requestsOnly && (name == "shape" || name == "dtype")) {
			m.errs = append(m.errs, fmt.Errorf("%s is missing", name))
		}
	}
	if isObject("shape") && m.RequestsOnly() && !broken("shape") && m.kindOK && mayLackTensors(m.Source.Kind) {
		m.errs = append(m.errs, m.Shape.Problems()...) // an explicit shape of zeros is an error, unlike a missing shape
	}

	// What is missing or unreadable has a valid value in judged: its zero would cause a second error for the
	// same mistake.
	judged := m.Meta
	judged.FormatVersion = FormatVersion
	for _, d := range []struct {
		path string
		n    *int
		good int
	}{
		{"shape.layers", &judged.Shape.Layers, 1},
		{"shape.kv_heads", &judged.Shape.KVHeads, 1},
		{"shape.group", &judged.Shape.Group, 1},
		{"shape.head_size", &judged.Shape.HeadSize, kv.MinHeadSize},
	} {
		if !m.requestsOnly && !isObject("shape") || broken(d.path) {
			*d.n = d.good
		}
	}
	if raw["dtype"] == nil || broken("dtype") {
		judged.DType = dtype.F32
	}
	sizeUnknown := broken("shape.head_size") || !m.requestsOnly && !isObject("shape")
	if broken("rope") || sizeUnknown && m.Rope != nil && m.Rope.Check() == nil {
		judged.Rope = nil
	}
	if broken("prefix_block_tokens") {
		judged.PrefixBlockTokens = 0
	}
	if broken("synth") {
		judged.Synth = &Recipe{Layers: [][]Head{{{Sink: true}}}}
	}
	if !isObject("source") || broken("source.kind") {
		judged.Source.Kind = Imported
		if judged.Synth != nil {
			judged.Source.Kind = Synthetic
		}
	}
	m.errs = append(m.errs, judged.problems()...)

	m.shapeOK = isObject("shape") && !broken("shape") && m.Shape.Check() == nil
	m.dtypeOK = raw["dtype"] != nil && !broken("dtype") && checkStored(m.DType) == nil
	return m
}

// checkStored returns an error for dtypes that stored tensors cannot have.
func checkStored(t dtype.DType) error {
	switch t {
	case dtype.F32, dtype.F16, dtype.BF16:
		return nil
	}
	return errors.New("dtype is " + t.String() + ", want f32, f16 or bf16")
}
