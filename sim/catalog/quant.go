package catalog

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"

	"kvcompress/internal/ceil"
)

// quantize sets the formats of the modules by quantization_config, or by ModelOpt's
// hf_quant_config.json.
func (b *builder) quantize(sibling []byte) error {
	q := b.c.object("quantization_config")
	if q == nil && b.c.has("compression_config") { // an older name
		q = b.c.object("compression_config")
	}
	where := "quantization_config"
	if sibling != nil && (q == nil || q.str("quant_method", "modelopt") == "modelopt") {
		where = "hf_quant_config.json"
		of, err := newConfig(sibling)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		of.object("producer")
		q = of.object("quantization")
		if q == nil {
			return fmt.Errorf("%s: it has no quantization", where)
		}
		if err := errors.Join(append(of.errs, of.unread())...); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		q.entries["quant_method"] = []byte(`"modelopt"`)
	}
	if q == nil {
		return nil
	}
	q.at = ""
	s := scheme{q: q, b: b}
	s.apply()
	err := errors.Join(append(q.errs, q.unread())...)
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

// scheme is a quantization_config that is applied to a model.
type scheme struct {
	q *config
	b *builder
}

func (s *scheme) apply() {
	q := s.q
	method := q.str("quant_method", "")
	if method == "" && q.has("quant_algo") { // older ModelOpt files have no quant_method
		method = "modelopt"
	}
	read := map[string]func(){
		"fp8": s.fp8, "fbgemm_fp8": s.fp8, "awq": s.awq, "gptq": s.gptq, "bitsandbytes": s.bitsandbytes,
		"mxfp4": s.mxfp4, "compressed-tensors": s.compressedTensors, "modelopt": s.modelOpt, "modelopt_fp4": s.modelOpt,
	}[method]
	if read == nil {
		q.fail("quant_method is %.40q: want fp8, fbgemm_fp8, awq, gptq, bitsandbytes, mxfp4, compressed-tensors or modelopt; or remove quantization_config and use --weights", method)
		return
	}
	for _, name := range []string{
		"version", "backend", "damp_percent", "damp_auto_increment", "static_groups", "true_sequential", "model_name_or_path", "model_file_base_name", "exllama",
		"exllama_config", "use_exllama", "disable_exllama", "max_input_length", "use_cuda_fp16", "do_fuse", "fuse_max_seq_len", "modules_to_fuse",
		"activation_scale_ub", "fmt", "scale_fmt", "activation_scheme", "quantization_status", "global_compression_ratio", "producer", "batch_size",
		"block_name_to_quantize", "cache_block_outputs", "dataset", "model_seqlen", "module_name_preceding_first_block", "pad_token_id", "tokenizer",
		"pack_dtype", "meta", "checkpoint_format", "format", "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage", "llm_int8_enable_fp32_cpu_offload",
		"llm_int8_has_fp16_weight", "llm_int8_threshold", "quant_type", "weight_quant_method",
	} {
		q.read[name] = true
	}
	read()
}

// skips returns the names of modules that keep 16 bits, from the entries with these names.
func (s *scheme) skips(names ...string) []string {
	var skips []string
	for _, name := range names {
		skips = append(skips, s.q.strs(name)...)
	}
	return skips
}

// set sets the format of all matrices except those that are skipped.
func (s *scheme) set(f Format, label Weights, skips []string) {
	s.setWhere(label, skips, func(*Module) (Format, bool) { return f, true })
}

// setWhere sets the format of each of the layers' matrices that is not skipped and for which format
// returns one.
func (s *scheme) setWhere(label Weights, skips []string, format func(*Module) (Format, bool)) {
	s.setAmong((*Module).quantizable, label, skips, format)
}

// setAmong is setWhere for the modules for which among is true.
func (s *scheme) setAmong(among func(*Module) bool, label Weights, skips []string, format func(*Module) (Format, bool)) {
	skip, err := newMatcher(skips)
	if err != nil {
		s.q.errs = append(s.q.errs, err)
		return
	}
	for i := range s.b.m.Modules {
		m := &s.b.m.Modules[i]
		if !among(m) {
			continue
		}
		all, some := skip.matches(m)
		switch {
		case some && !all:
			s.q.fail("%s: some of its experts are skipped and some are not: such a layer is not modelled", m.Name)
			return
		case !all:
			if f, ok := format(m); ok {
				if f.Weights == "" {
					f.Weights = label
				}
				m.Format = f
			}
		}
	}
	s.b.m.Weights = label
}

// fp8 sets the format of fp8 and fbgemm_fp8; the latter has one scale per output.
func (s *scheme) fp8() {
	f := FP8.Format()
	if s.q.str("quant_method", "") == "fbgemm_fp8" {
		f.GroupOut = 1
	}
	if s.q.str("activation_scheme", "dynamic") == "static" {
		f.Extra = 4
	}
	switch scheme := s.q.str("kv_cache_scheme", ""); scheme {
	case "":
	case "static":
		s.b.m.KVFormat = "8-bit"
	default:
		s.q.fail("kv_cache_scheme is %.40q, want static", scheme)
	}
	if block := s.q.nums("weight_block_size"); block != nil {
		if len(block) != 2 || block[0] < 1 || block[1] < 1 || block[0] > maxWidth || block[1] > maxWidth {
			s.q.fail("weight_block_size is %v, want two sizes", block)
			return
		}
		f.GroupOut, f.GroupIn = block[0], block[1]
	}
	s.set(f, FP8, s.skips("modules_to_not_convert", "ignored_layers"))
}

// group reads the number of weights that share a scale.
func (s *scheme) group(name string, byDefault int) int {
	switch n := s.q.num(name, byDefault); {
	case n == -1:
		return 0
	case n < 1 || n > maxWidth:
		s.q.fail("%s is %d, want 1 to %d, or -1 for all of an output's", name, n, maxWidth)
		return 1
	default:
		return n
	}
}

func (s *scheme) awq() {
	bits := s.q.num("bits", s.q.num("w_bit", 4))
	f := Format{Bits: bits, Activations: 16, ScaleBits: 16, GroupIn: s.group("group_size", s.q.num("q_group_size", 128)), GroupOut: 1}
	if s.q.flag("zero_point", true) {
		f.ZeroBits = bits
	}
	if bits != 4 {
		s.q.fail("bits is %d, want 4", bits)
	}
	s.set(f, INT4, s.skips("modules_to_not_convert"))
}

func (s *scheme) gptq() {
	bits := s.q.num("bits", 4)
	f := Format{Bits: bits, Activations: 16, ScaleBits: 16, ZeroBits: bits, GroupIn: s.group("group_size", 128), GroupOut: 1, InputIndex: true}
	s.q.flag("sym", true) // zero points and the order of the inputs are stored in any case
	s.q.flag("desc_act", false)
	label := map[int]Weights{4: INT4, 8: INT8}[bits]
	if label == "" {
		s.q.fail("bits is %d, want 4 or 8", bits)
		return
	}
	if s.q.flag("lm_head", false) {
		s.q.fail("lm_head is true: a quantized output matrix is not modelled")
	}
	s.set(f, label, s.skips("modules_to_not_convert", "modules_in_block_to_not_quantize"))
}

func (s *scheme) bitsandbytes() {
	q := s.q
	q.flag("_load_in_4bit", false)
	q.flag("_load_in_8bit", false)
	four, eight := q.flag("load_in_4bit", false), q.flag("load_in_8bit", false)
	double, skips := q.flag("bnb_4bit_use_double_quant", false), s.skips("llm_int8_skip_modules")
	if t := q.str("bnb_4bit_quant_type", "fp4"); t != "nf4" && t != "fp4" {
		q.fail("bnb_4bit_quant_type is %.40q, want nf4 or fp4", t)
	}
	switch {
	case four && !eight:
		f := NF4.Format()
		if double { // scales in 8 bits, with a 32-bit scale for each 256 of them
			f.ScaleBits = 8
			s.setWhere(NF4, skips, func(m *Module) (Format, bool) {
				of := f
				of.Extra = 4 * int(ceil.Div(int64(m.In)*int64(m.Out), 64*256))
				return of, true
			})
			return
		}
		s.set(f, NF4, skips)
	case eight && !four:
		s.set(INT8.Format(), INT8, skips)
	default:
		q.fail("load_in_4bit and load_in_8bit: want one of them")
	}
}

// mxfp4 sets the format of the routed experts only.
func (s *scheme) mxfp4() {
	s.setWhere(MXFP4, s.skips("modules_to_not_convert", "ignored_layers"), func(m *Module) (Format, bool) {
		return MXFP4.Format(), m.Kind == Routed
	})
}

// compressedTensors sets the formats of groups of modules.
func (s *scheme) compressedTensors() {
	q := s.q
	groups := q.objects("config_groups")
	q.object("kv_cache_scheme")
	if q.has("kv_cache_scheme") {
		s.b.m.KVFormat = "8-bit"
	}
	for _, name := range []string{"sparsity_config", "transform_config"} {
		if of := q.object(name); of != nil && len(of.entries) > 0 && of.str("format", "") != "dense" {
			q.fail("%s: sparse or transformed weights are not modelled", name)
		}
	}
	s.checkPacking(q)
	if len(groups) == 0 {
		q.fail("config_groups: no group of modules")
		return
	}
	s.grouped(groups, s.skips("ignore"))
}

// denseFormats are the formats of compressed-tensors that store every weight.
var denseFormats = []string{
	"", "dense", "naive-quantized", "int-quantized", "float-quantized", "pack-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized",
	"mxfp8-quantized", "mixed-precision",
}

// checkPacking refuses a format, of the whole configuration or of one of its groups, that leaves out
// weights, such as marlin-24.
func (s *scheme) checkPacking(c *config) {
	if format := c.str("format", ""); !slices.Contains(denseFormats, format) {
		s.q.fail("format is %.40q, which is not modelled: want one of %s", format, strings.Join(denseFormats[1:], ", "))
	}
}

// grouped sets the formats of config_groups. The first group by name that targets a module decides.
func (s *scheme) grouped(groups map[string]*config, skips []string) {
	type group struct {
		all    bool
		only   *matcher
		format Format
	}
	var list []group
	label := Weights("")
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		of := groups[name]
		g := group{}
		var targets []string
		for _, t := range of.strs("targets") {
			if t == "Linear" || t == "FusedMoE" {
				g.all = true
			} else {
				targets = append(targets, t)
			}
		}
		var err error
		if g.only, err = newMatcher(targets); err != nil {
			s.q.errs = append(s.q.errs, err)
			return
		}
		activations := 16
		if in := of.object("input_activations"); in != nil {
			activations = in.num("num_bits", 16)
		}
		of.object("output_activations")
		s.checkPacking(of)
		w := of.object("weights")
		if w == nil {
			continue // it quantizes activations only
		}
		g.format = tensorScheme(s.q, w, activations)
		if of.str("format", s.q.str("format", "")) == "pack-quantized" {
			g.format.Extra += 8 // the shape before the packing, two 32-bit numbers
		}
		if len(list) == 0 {
			label = g.format.Weights
		}
		list = append(list, g)
		if err := of.unread(); err != nil {
			s.q.fail("config_groups.%s: %w", name, err)
		}
		s.q.errs = append(s.q.errs, of.errs...)
	}
	if len(s.q.errs) > 0 || label == "" {
		if label == "" {
			s.q.fail("config_groups: no group has a format of weights")
		}
		return
	}
	s.setWhere(label, skips, func(m *Module) (Format, bool) {
		for _, g := range list {
			all, some := g.only.matches(m)
			if g.all || all {
				return g.format, true
			}
			if some {
				s.q.fail("%s: a group targets some of its experts and not all: such a layer is not modelled", m.Name)
			}
		}
		return Format{}, false
	})
}

// tensorScheme returns the format of a weights entry of compressed-tensors.
func tensorScheme(q, w *config, activations int) Format {
	bits, kind, strategy := w.num("num_bits", 8), w.str("type", "int"), w.str("strategy", "")
	size, symmetric := w.num("group_size", 0), w.flag("symmetric", true)
	block := w.nums("block_structure")
	for _, name := range []string{"dynamic", "observer", "observer_kwargs", "actorder", "block_structure", "scale_dtype", "zp_dtype"} {
		w.read[name] = true
	}
	f := Format{Bits: bits, Activations: activations, ScaleBits: 16}
	switch {
	case kind == "float" && bits == 8:
		f.Weights, f.ScaleBits = FP8, 32
	case kind == "int" && bits == 8:
		f.Weights, f.ScaleBits = INT8, 32
	case kind == "int" && bits == 4:
		f.Weights = INT4
	case kind == "float" && bits == 4 && size == 32:
		f.Weights, f.ScaleBits = MXFP4, 8
	case kind == "float" && bits == 4:
		f.Weights, f.ScaleBits, f.Extra = NVFP4, 8, 8
	default:
		q.fail("weights of type %.20q with %d bits: want int or float with 4 or 8", kind, bits)
		return f
	}
	if activations != 4 && activations != 8 && activations != 16 {
		q.fail("input_activations of %d bits: want 4, 8 or 16", activations)
	}
	if strategy == "" { // the default depends on group_size and block_structure
		strategy = "tensor"
		if size > 0 {
			strategy = "group"
		}
	}
	switch strategy {
	case "tensor":
	case "channel":
		f.GroupOut = 1
	case "group", "tensor_group":
		if size < 1 || size > maxWidth {
			q.fail("group_size is %d, want 1 to %d", size, maxWidth)
			return f
		}
		f.GroupIn, f.GroupOut = size, 1
	case "block":
		if len(block) != 2 || block[0] < 1 || block[1] < 1 || block[0] > maxWidth || block[1] > maxWidth {
			q.fail("block_structure is %v, want two sizes", block)
			return f
		}
		f.GroupOut, f.GroupIn = block[0], block[1]
	default:
		q.fail("strategy is %.40q, want tensor, channel, group or block", strategy)
	}
	if !symmetric {
		f.ZeroBits = bits
	}
	if err := w.unread(); err != nil {
		q.errs = append(q.errs, err)
	}
	q.errs = append(q.errs, w.errs...)
	return f
}

// modelOpt sets the formats of ModelOpt's files, which have one algorithm for all modules, or groups as
// in compressed-tensors.
func (s *scheme) modelOpt() {
	q := s.q
	skips := s.skips("exclude_modules", "ignore", "modules_to_not_convert")
	algorithm := q.str("quant_algo", "")
	s.b.m.KVFormat = q.str("kv_cache_quant_algo", "")
	if q.has("kv_cache_scheme") {
		q.object("kv_cache_scheme")
		s.b.m.KVFormat = "8-bit"
	}
	size := q.num("group_size", 16)
	groups, layers := q.objects("config_groups"), q.objects("quantized_layers")
	q.flag("has_zero_point", false)
	q.flag("pre_quant_scale", false)
	if len(layers) > 0 {
		s.layerwise(layers, skips)
		return
	}
	if len(groups) > 0 {
		s.grouped(groups, skips)
		return
	}
	if algorithm == "" && s.b.m.KVFormat != "" {
		return // only the KV cache is quantized
	}
	if f, ok := s.algorithm(algorithm, size); ok {
		s.set(f, f.Weights, skips)
	}
}

// algorithm returns the format of one of ModelOpt's algorithms.
func (s *scheme) algorithm(name string, group int) (Format, bool) {
	switch name {
	case "FP8":
		f := FP8.Format()
		f.Extra = 4 // the scale of the activations
		return f, true
	case "FP8_PER_CHANNEL_PER_TOKEN":
		f := FP8.Format()
		f.GroupOut = 1
		return f, true
	case "NVFP4", "W4A16_NVFP4":
		f := NVFP4.Format()
		if group < 1 || group > maxWidth {
			s.q.fail("group_size is %d, want 1 to %d", group, maxWidth)
			return f, false
		}
		f.GroupIn = group
		if name == "W4A16_NVFP4" {
			f.Activations, f.Extra = 16, 4 // the scale of the scales alone
		}
		return f, true
	}
	s.q.fail("quant_algo is %.40q: want FP8, FP8_PER_CHANNEL_PER_TOKEN, NVFP4 or W4A16_NVFP4; or remove it and use --weights", name)
	return Format{}, false
}

// layerwise sets the formats of modules that are named individually, which may be the output matrix; all
// others keep 16 bits.
func (s *scheme) layerwise(layers map[string]*config, skips []string) {
	byAlgorithm := map[string][]string{}
	size := map[string]int{}
	for name, of := range layers {
		a := of.str("quant_algo", "")
		byAlgorithm[a] = append(byAlgorithm[a], name)
		if n := of.num("group_size", 16); size[a] == 0 || n == size[a] {
			size[a] = n
		} else {
			s.q.fail("quantized_layers: groups of %d and of %d weights with one algorithm are not modelled", n, size[a])
			return
		}
		if err := of.unread(); err != nil {
			s.q.errs = append(s.q.errs, err)
		}
		s.q.errs = append(s.q.errs, of.errs...)
	}
	label := Weights("")
	type part struct {
		format Format
		only   *matcher
	}
	var parts []part
	var names []string
	for a := range byAlgorithm {
		names = append(names, a)
	}
	slices.Sort(names)
	for _, a := range names {
		f, ok := s.algorithm(a, size[a])
		only, err := newMatcher(byAlgorithm[a])
		if err != nil {
			s.q.errs = append(s.q.errs, err)
		}
		if !ok || err != nil {
			return
		}
		label = f.Weights // NVFP4 if there are both NVFP4 and FP8
		parts = append(parts, part{f, only})
	}
	named := func(m *Module) bool { return m.quantizable() || m.Kind == Output }
	s.setAmong(named, label, skips, func(m *Module) (Format, bool) {
		for _, p := range parts {
			all, some := p.only.matches(m)
			if all {
				return p.format, true
			}
			if some {
				s.q.fail("%s: some of its experts are quantized and some are not: such a layer is not modelled", m.Name)
			}
		}
		return Format{}, false
	})
}

// matcher matches modules with a list of names. A name is the path of a module or some consecutive parts
// of it, as "mlp.gate" of "model.layers.3.mlp.gate". It may have stars, or be a regular expression after
// "re:".
type matcher struct {
	names    map[string]bool
	experts  map[string]map[string]bool // names of single experts with a star for the number: the numbers
	globs    []string
	patterns []*regexp.Regexp
}

// Bounds on the names that have to be tried one after the other.
const (
	maxGlobs    = 1024
	maxPatterns = 64
)

func newMatcher(list []string) (*matcher, error) {
	m := &matcher{names: map[string]bool{}, experts: map[string]map[string]bool{}}
	expert := regexp.MustCompile(`(^|\.)experts\.(\d{1,6})(\.|$)`)
	for _, name := range list {
		expression, isPattern := strings.CutPrefix(name, "re:")
		switch {
		case isPattern:
			re, err := regexp.Compile("^(?:" + expression + ")")
			if err != nil || len(m.patterns) == maxPatterns {
				return nil, fmt.Errorf("%.60q: want a regular expression, and at most %d of them", name, maxPatterns)
			}
			m.patterns = append(m.patterns, re)
		case strings.Contains(name, "*"):
			if len(m.globs) == maxGlobs {
				return nil, fmt.Errorf("more than %d names with stars", maxGlobs)
			}
			m.globs = append(m.globs, name)
		default:
			at := expert.FindStringSubmatchIndex(name)
			if at == nil {
				m.names[name] = true
				continue
			}
			all := name[:at[4]] + "*" + name[at[5]:]
			if m.experts[all] == nil {
				m.experts[all] = map[string]bool{}
			}
			m.experts[all][name[at[4]:at[5]]] = true
		}
	}
	return m, nil
}

// matches reports whether all of a module's tensors match, and whether some do: a name may match a single
// routed expert.
func (m *matcher) matches(mod *Module) (all, some bool) {
	before, after, each := strings.Cut(mod.Name, ".*.")
	if !each {
		all = m.match(mod.Name)
		return all, all
	}
	if m.match(before) || m.match(after) { // names the whole mixture, or a matrix of all experts
		return true, true
	}
	// Stars and expressions are tried on the first and the last expert only.
	first, last := m.match(before+".0."+after), m.match(fmt.Sprintf("%s.%d.%s", before, mod.N-1, after))
	all, some = first && last, first || last
	for part := range partsOf(mod.Name) {
		if n := len(m.experts[part]); n > 0 {
			all, some = all || n >= mod.N, true
		}
	}
	return all, some
}

// match reports whether a name matches.
func (m *matcher) match(name string) bool {
	if len(m.names) > 0 {
		for part := range partsOf(name) {
			if m.names[part] {
				return true
			}
		}
	}
	for _, g := range m.globs {
		if glob(g, name) || glob(g+".*", name) {
			return true
		}
	}
	return slices.ContainsFunc(m.patterns, func(re *regexp.Regexp) bool { return re.MatchString(name) })
}

// partsOf yields all consecutive parts of a name: for a.b.c they are a, a.b, a.b.c, b, b.c and c.
func partsOf(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for start := 0; ; {
			for end := start; end <= len(name); end++ {
				if (end == len(name) || name[end] == '.') && !yield(name[start:end]) {
					return
				}
			}
			next := strings.IndexByte(name[start:], '.')
			if next < 0 {
				return
			}
			start += next + 1
		}
	}
}

// glob reports whether a name matches a pattern in which a star stands for any text.
func glob(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	name, ok := strings.CutPrefix(name, first)
	if !star || !ok {
		return ok && name == ""
	}
	for {
		next, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, next)
		}
		at := strings.Index(name, next)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(next):], after
	}
}
